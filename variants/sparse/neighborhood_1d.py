"""Neighbourhood attention on sequences: each token sees the k tokens nearest to it."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible
from cab.variants.sparse._neighborhood import attend_in_neighborhoods
from cab.variants.sparse._recent import RecentKeys, positions, remember


@register_variant(
    name="neighborhood-1d",
    family="sparse",
    patterns="ns cs",
    summary="softmax over the `kernel` nearest tokens, or the last `kernel` if causal",
    paper="Faster Neighborhood Attention: Reducing the O(n^2) Cost of Self Attention at the "
    "Threadblock Level (Hassani, Hwu, Shi)",
    year=2024,
    arxiv="2403.04690",
    padding="position",
    time="N kernel d",
    memory="N kernel",
    state="2 ((kernel - 1) dilation + 1) E + 1/H",
    sees="t % dilation == s % dilation and (causal and t - s < kernel dilation or not causal "
    "and 0 <= s // dilation - max(0, min(t // dilation - kernel // 2, "
    "(N - 1 - t % dilation) // dilation + 1 - kernel)) < kernel)",
    budget="kernel",
    published_defaults="kernel 7 on each axis of images; here 17, 8 tokens on each side",
    added="2026-11-21",
)
class NeighborhoodAttention1d(DecodingAttention):
    r"""Softmax over a window that has its full size also at the borders.

    .. math:: o_t = \sum_{s = a}^{a + k - 1} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s,
              \quad a = \max(0, \min(t - \lfloor k / 2 \rfloor, N - k))

    In NS the window is centred, pushed inward at both ends, and everything if N is below k. In
    CS it is the last k tokens, :math:`a = t - k + 1`, cut short at the start. With dilation d that
    holds within each set of positions with the same remainder by d. The length N is that of a row
    without its padding on the right. Differs from `window` at the ends, in dilation, and in
    CS by nothing when d is 1. A tile of k queries meets 3 k - 2 keys and masks those outside its
    windows, so that the work is about three times that of the formula N k d.
    """

    @dataclass(frozen=True)
    class Config:
        """kernel: tokens of a window. dilation: steps between them."""

        kernel: int = 17
        dilation: int = 1

        def __post_init__(self) -> None:
            if self.kernel < 1 or self.dilation < 1:
                raise ValueError("kernel and dilation must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query whose neighbourhood is all padding gets 0."""
        return attend_in_neighborhoods(
            q / self.head_width**0.5,
            k,
            v,
            key_padding_mask,
            grid=(1, q.shape[2]),
            kernel=(1, self.config.kernel),
            dilation=(1, self.config.dilation),
            causal=self.pattern.causal,
        )

    def absorb(
        self,
        state: RecentKeys | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RecentKeys:
        """Keep the last keys and values, as far as the oldest one that is seen."""
        return remember(state, k, v, (self.config.kernel - 1) * self.config.dilation + 1)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: RecentKeys) -> Float[Tensor, "B H 1 E"]:
        """Attend to every `dilation`-th of the kept keys, the newest among them."""
        place = positions(state)[:, :: self.config.dilation]
        k, v = (x[:, :, :: self.config.dilation] for x in (state.k, state.v))
        return attend_visible(q / self.head_width**0.5, k, v, (place < 0)[:, None, None])
