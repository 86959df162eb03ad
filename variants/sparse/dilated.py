"""Dilated sliding window: half of the heads see every d-th token of a longer window."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, band, cut, join, padding_of, weigh
from cab.variants.sparse._recent import RecentKeys, positions, remember


@register_variant(
    name="dilated",
    family="sparse",
    patterns="ns cs",
    summary="softmax over a window, which half of the heads dilate by `dilation`",
    paper="Longformer: The Long-Document Transformer (Beltagy, Peters, Cohan)",
    year=2020,
    arxiv="2004.05150",
    padding="distance",
    time="N window d",
    memory="N window",
    state="2 ((window - 1) dilation + 1) E + 1/H",
    sees="abs(t - s) < window or "
    "(H > 1 and (t - s) % dilation == 0 and abs(t - s) < window dilation)",
    published_defaults="dilation on 2 of 8 heads or more, in upper layers, windows of 32 to 512 "
    "tokens; here 16 tokens on each side and dilation 4 on half of the heads of every layer, none "
    "of a single head",
    added="2026-11-21",
)
class DilatedAttention(DecodingAttention):
    r"""Softmax over :math:`V_t = \{s : d_h \mid t - s,\ |t - s| < w d_h\}`, in CS :math:`s \le t`.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    with :math:`d_h = d` in the last H // 2 heads and 1 in the others, as the paper mixes them so
    that near tokens stay in sight (a single head has no gaps). Tokens with the same remainder
    by d attend to each other within a window. Longformer's global tokens are in `longformer`.
    """

    @dataclass(frozen=True)
    class Config:
        """window: w above; w - 1 tokens are seen on a side. dilation: steps between them."""

        window: int = 16
        dilation: int = 4

        def __post_init__(self) -> None:
            if self.window < 1 or self.dilation < 1:
                raise ValueError("window and dilation must be at least 1")

    config: Config

    @property
    def parts(self) -> list[tuple[slice, int]]:
        """Each half of the heads, and its dilation."""
        plain = self.heads - self.heads // 2
        return [(slice(0, plain), 1), (slice(plain, self.heads), self.config.dilation)]

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query whose window is all padding gets 0."""
        q, absent, mixed = q / self.head_width**0.5, padding_of(k, key_padding_mask), []
        for half, dilation in self.parts:
            # Remainders stand in the batch: (B d, H / 2, N / d, E).
            queries, keys, values = (_by_remainder(x[:, half], dilation) for x in (q, k, v))
            hollow = _by_remainder(absent[..., None], dilation, fill=True)[..., 0]
            window, causal = self.config.window, self.pattern.causal
            near = band(queries, keys, values, hollow, window, causal)
            (weights,) = weigh((near.scores, near.hidden))
            one = join(weights @ near.values, 2, queries.shape[2])
            one = one.unflatten(0, (-1, dilation)).movedim(1, 3)
            mixed.append(join(one, 2, q.shape[2]))
        return torch.cat(mixed, dim=1)

    def absorb(
        self,
        state: RecentKeys | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RecentKeys:
        """Keep the last keys and values, as far as the oldest one that is seen."""
        return remember(state, k, v, (self.config.window - 1) * self.config.dilation + 1)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: RecentKeys) -> Float[Tensor, "B H 1 E"]:
        """Attend to the kept keys that each head sees."""
        place, hidden = positions(state), []
        distance = state.length[:, None] - 1 - place
        for half, dilation in self.parts:
            far = (distance % dilation != 0) | (distance >= self.config.window * dilation)
            heads = half.stop - half.start
            hidden.append((far | (place < 0))[:, None, None].expand(-1, heads, -1, -1))
        return attend_visible(q / self.head_width**0.5, state.k, state.v, torch.cat(hidden, dim=1))


def _by_remainder(x: Tensor, dilation: int, fill: bool = False) -> Tensor:
    """(B, H, N, E) to (B d, H, N / d, E): tokens with the same remainder by d in a row."""
    return cut(x, 2, dilation, fill=fill).movedim(3, 1).flatten(0, 1)
