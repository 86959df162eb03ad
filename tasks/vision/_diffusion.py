"""Adding noise to images step by step, and removing it (DDPM, as in SR3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """Variances of the noise per step, rising evenly from `first` to `last`."""

    steps: int
    first: float
    last: float

    @property
    def variances(self) -> Tensor:
        """beta_t, (steps,)."""
        return torch.linspace(self.first, self.last, self.steps, dtype=torch.float64)

    @property
    def levels(self) -> Tensor:
        """The clean picture's factor before the first and after each step: (steps + 1,)."""
        kept = torch.cat((torch.ones(1, dtype=torch.float64), 1 - self.variances))
        return kept.cumprod(dim=0).sqrt()


def draw_levels(schedule: Schedule, count: int, generator: torch.Generator) -> Tensor:
    """Draw a step, and a level between those before and after it, as in WaveGrad and SR3."""
    step = torch.randint(schedule.steps, (count,), generator=generator)
    levels, place = schedule.levels, torch.rand(count, generator=generator)
    return torch.lerp(levels[step].float(), levels[step + 1].float(), place)


def add_noise(clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    r"""Return :math:`\gamma x + \sqrt{1 - \gamma^2} \epsilon` for levels (B,) of pictures."""
    factor = level[:, None, None, None]
    return factor * clean + (1 - factor.square()).sqrt() * noise


def denoise(
    noise_in: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    schedule: Schedule,
    generator: torch.Generator,
) -> Tensor:
    r"""Walk back from noise to a picture in [-1, 1] (Ho et al., 2020, arXiv 2006.11239).

    .. math:: x_{t-1} = \frac{\sqrt{\bar\alpha_{t-1}} \beta_t}{1 - \bar\alpha_t} \hat x_0
              + \frac{\sqrt{\alpha_t} (1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t} x_t
              + \sqrt{\frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t} \beta_t} z

    where :math:`\hat x_0` is what the noise found in :math:`x_t` leaves, cut to [-1, 1].

    Args:
        noise_in: (noisy pictures, levels (B,)) -> the noise in them.
        start: pictures of noise alone.
        schedule: the steps, walked from the last to the first.
        generator: where z is from; on the CPU, so that every device draws the same.
    """
    x, levels, variances = start, schedule.levels, schedule.variances
    for step in reversed(range(schedule.steps)):
        before, after, beta = levels[step] ** 2, levels[step + 1] ** 2, variances[step]
        level = levels[step + 1].to(x).expand(len(x))
        noise = noise_in(x, level)
        clean = (x - (1 - after).sqrt().to(x) * noise) / after.sqrt().to(x)
        clean = clean.clamp(-1, 1)
        x = (before.sqrt() * beta / (1 - after)).to(x) * clean + (
            (1 - beta).sqrt() * (1 - before) / (1 - after)
        ).to(x) * x
        if step:
            z = torch.randn(x.shape, generator=generator).to(x)
            x = x + ((1 - before) / (1 - after) * beta).sqrt().to(x) * z
    return x
