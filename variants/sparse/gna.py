"""Generalised neighbourhood attention: windows that slide by several tokens at a time."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible
from cab.variants.sparse._neighborhood import attend_in_neighborhoods
from cab.variants.sparse._recent import RecentKeys, positions, remember


@register_variant(
    name="gna",
    family="sparse",
    patterns="ns cs",
    summary="softmax over `kernel` nearby tokens, shared by `stride` neighbouring queries",
    paper="Generalized Neighborhood Attention: Multi-dimensional Sparse Attention at the Speed of "
    "Light (Hassani et al.)",
    year=2025,
    arxiv="2504.16922",
    padding="position",
    time="N kernel d",
    memory="N kernel",
    state="2 kernel E + 1/H",
    sees="causal and s >= t // stride stride + stride - kernel or not causal and 0 <= s - max(0, "
    "min(N - kernel, min(N - 1, t // stride stride + stride // 2) - kernel // 2)) < kernel",
    budget="kernel",
    published_defaults="kernels and strides depend on the model, strides from a fourth of the "
    "kernel to all of it; here kernel 17 and stride 8, about half of it",
    added="2026-11-21",
)
class GeneralizedNeighborhoodAttention(DecodingAttention):
    r"""Softmax over the window of a leader, which g neighbouring queries share.

    .. math:: o_t = \sum_{s = a}^{a + k - 1} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s,
              \quad a = \max(0, \min(\ell_t - \lfloor k / 2 \rfloor, N - k))

    In NS the leader :math:`\ell_t = \min(g \lfloor t / g \rfloor + \lfloor g / 2 \rfloor, N - 1)`
    stands in the middle of t's group, in CS it is the last of the group and :math:`s \le t`. A
    stride of g = 1 slides (`neighborhood-1d`), one of k gives blocks that do not overlap. The
    stride is for speed: where a tile of queries shares its window, no key is met that is not
    seen, and the bound on the speed-up over full attention, N / k, is reached. This reference
    meets 3 k - 2 keys per tile of k queries, whatever the stride. The authors' leader in CS stands
    at most at the end of the sequence; here it may stand beyond, so that the length does not
    matter. Padding on the right does not count into N.
    """

    @dataclass(frozen=True)
    class Config:
        """kernel: tokens of a window. stride: queries that share one, g above."""

        kernel: int = 17
        stride: int = 8

        def __post_init__(self) -> None:
            if not 1 <= self.stride <= self.kernel:
                raise ValueError("stride must be at least 1 and at most the kernel")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query whose window is all padding gets 0."""
        return attend_in_neighborhoods(
            q / self.head_width**0.5,
            k,
            v,
            key_padding_mask,
            grid=(1, q.shape[2]),
            kernel=(1, self.config.kernel),
            stride=(1, self.config.stride),
            causal=self.pattern.causal,
        )

    def absorb(
        self,
        state: RecentKeys | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RecentKeys:
        """Keep the last `kernel` keys and values."""
        return remember(state, k, v, self.config.kernel)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: RecentKeys) -> Float[Tensor, "B H 1 E"]:
        """Attend to those of the kept keys that the group's last token would see."""
        kernel, stride = self.config.kernel, self.config.stride
        start = (state.length - 1) // stride * stride + stride - kernel
        hidden = positions(state) < start.clamp(min=0)[:, None]
        return attend_visible(q / self.head_width**0.5, state.k, state.v, hidden[:, None, None])
