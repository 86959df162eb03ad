"""The fundamental frequency of speech, frame by frame, from its autocorrelation."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LOWEST, HIGHEST = 71.0, 500.0
"""Hertz that are looked for."""
VOICED = 0.15
"""Below this value of the normalised difference a frame has a pitch."""


def fundamental(
    waveform: Float[Tensor, " samples"], sample_rate: int, window: int, hop: int
) -> Float[Tensor, " frames"]:
    r"""Return the frequency of 1 + samples // hop frames in hertz, 0 where none is found.

    A frame is centred on a multiple of the hop. Its period is the first lag at which the
    cumulative mean normalised difference of YIN (de Cheveigne and Kawahara, 2002) has a minimum
    below VOICED,

    .. math:: d'_\tau = \frac{\tau d_\tau}{\sum_{j=1}^{\tau} d_j}, \quad
              d_\tau = \sum_{t=1}^{W} (x_t - x_{t + \tau})^2

    over W = window samples, refined by a parabola through its neighbours.
    """
    longest = int(sample_rate / LOWEST) + 2
    span = window + longest
    padded = F.pad(waveform.double(), (span // 2, span - span // 2))
    frames = padded.unfold(0, span, hop)[: 1 + len(waveform) // hop]
    size = 2 * span
    first = torch.fft.rfft(frames[:, :window], size)
    cross = torch.fft.irfft(first.conj() * torch.fft.rfft(frames, size), size)[:, : longest + 1]
    energy = F.pad(frames.square().cumsum(dim=1), (1, 0))
    lags = torch.arange(longest + 1)
    moved = energy[:, lags + window] - energy[:, lags]
    difference = (moved[:, :1] + moved - 2 * cross).clamp(min=0)
    total = difference[:, 1:].cumsum(dim=1).clamp(min=1e-12)
    normal = F.pad(difference[:, 1:] * lags[1:] / total, (1, 0), value=1.0)
    left, here, right = normal[:, :-2], normal[:, 1:-1], normal[:, 2:]
    found = (here < VOICED) & (here <= left) & (here < right)
    found &= lags[1:-1] >= sample_rate / HIGHEST
    at = found.double().argmax(dim=1, keepdim=True)
    low, middle, high = (part.gather(1, at) for part in (left, here, right))
    shift = (low - high) / (2 * (low - 2 * middle + high)).clamp(min=1e-12)
    period = (at + 1 + shift).squeeze(1)
    return torch.where(found.any(dim=1), sample_rate / period, 0.0).float()


def contour(pitch: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Return the logarithm of a pitch, with straight lines where none was found."""
    voiced = (pitch > 0).nonzero().squeeze(1)
    if not len(voiced):
        return torch.zeros_like(pitch)
    logs, place = pitch[voiced].log(), torch.arange(len(pitch))
    after = torch.searchsorted(voiced, place).clamp(max=len(voiced) - 1)
    before = (torch.searchsorted(voiced, place, right=True) - 1).clamp(min=0)
    gap = (voiced[after] - voiced[before]).clamp(min=1)
    share = ((place - voiced[before]) / gap).clamp(0, 1)
    return torch.lerp(logs[before], logs[after], share)
