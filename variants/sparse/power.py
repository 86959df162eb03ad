"""PowerAttention: the near tokens, and those at distances that are powers of two."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, band, cut, join, padding_of, weigh


@register_variant(
    name="power",
    family="sparse",
    patterns="ns cs",
    extended="ns",
    summary="softmax over the nearby tokens and those at distances 1, 2, 4, 8 and so on",
    paper="PowerAttention: Exponentially Scaling of Receptive Fields for Effective Sparse "
    "Attention (Chen et al.)",
    year=2025,
    arxiv="2503.03588",
    padding="distance",
    time="N (window + log2(N)) d",
    memory="N (window + log2(N))",
    state="2 M E",
    sees="abs(t - s) < window or (abs(t - s) & (abs(t - s) - 1)) == 0",
    budget="window",
    published_defaults="all powers of two up to the length, together with a window, in 32,768 "
    "tokens; here all powers of two and a window of 8, without sink tokens",
    added="2026-11-21",
)
class PowerAttention(CachedAttention):
    r"""Softmax over :math:`V_t = \{s : |t - s| < w\} \cup \{s : |t - s| = 2^i\}`, in CS
    with :math:`s \le t`.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    A distance is a sum of powers of two, so :math:`\log N` layers reach every token. A power is
    one shift of the whole sequence. The paper is causal, and its kernels take powers of two
    blocks; here they are tokens, as in its analysis, and NS looks both ways. Sinks (first tokens
    that all see) are no part of the analysis and are left out.
    """

    @dataclass(frozen=True)
    class Config:
        """window: a causal query sees itself and window - 1 before it; else as many after it."""

        window: int = 8

        def __post_init__(self) -> None:
            if self.window < 1:
                raise ValueError("window must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query that sees only padding gets 0."""
        length, q = q.shape[2], q / self.head_width**0.5
        absent = padding_of(k, key_padding_mask)
        near = band(q, k, v, absent, self.config.window, self.pattern.causal)
        block, far, shifts = near.scores.shape[3], [], self._shifts(length)
        for shift in shifts:
            scores = (_askers(q, shift) * _partners(k, shift)).sum(dim=-1, keepdim=True)
            hidden = _partners(absent[..., None], shift)
            far.append(
                (
                    cut(_placed(scores, shift), 2, block),
                    cut(_placed(hidden, shift, fill=True), 2, block, fill=True),
                )
            )
        near_weights, *far_weights = weigh((near.scores, near.hidden), *far)
        mixed = join(near_weights @ near.values, 2, length)
        for shift, weights in zip(shifts, far_weights, strict=True):
            weights = _askers(join(weights, 2, length), shift)
            mixed = mixed + _placed(weights * _partners(v, shift), shift)
        return mixed

    def _shifts(self, length: int) -> list[int]:
        """Return the powers of two beyond the window; negative ones look ahead."""
        powers = [2**i for i in range(length.bit_length()) if self.config.window <= 2**i < length]
        return powers if self.pattern.causal else powers + [-power for power in powers]

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the keys of the cache that the newest token sees."""
        distance = torch.arange(state.k.shape[2], device=q.device).flip(0)
        seen = (distance < self.config.window) | ((distance & (distance - 1)) == 0)
        return attend_visible(q / self.head_width**0.5, state.k, state.v, ~seen)


def _askers(x: Tensor, shift: int) -> Tensor:
    """The places t of x (B, H, N, E) for which t - shift is in the sequence."""
    return x[:, :, shift:] if shift > 0 else x[:, :, :shift]


def _partners(x: Tensor, shift: int) -> Tensor:
    """The places t - shift, beside `_askers`."""
    return x[:, :, :-shift] if shift > 0 else x[:, :, -shift:]


def _placed(x: Tensor, shift: int, fill: bool = False) -> Tensor:
    """Put what belongs to `_askers` back at the places t."""
    sides = (shift, 0) if shift > 0 else (0, -shift)
    return F.pad(x, (0, 0, *sides), value=fill)
