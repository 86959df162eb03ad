"""Heavily compressed attention: one entry for each block of tokens, all read beside a window."""

from dataclasses import dataclass

from cab.registry import register_variant
from cab.variants.sparse._compressed import CompressedAttention


@register_variant(
    name="hca",
    family="sparse",
    patterns="cs",
    summary="softmax over a window and one learned summary of each earlier block",
    paper="DeepSeek-V4 (DeepSeek-AI)",
    year=2026,
    arxiv="2606.19348",
    padding="position",
    time="N (N / block + 2 window + d) d",
    memory="N (N / block + 2 window)",
    state="(min(M, window - 1) + M // block + 2 (M % block)) E / H",
    sees="all",
    published_defaults="entries of 128 tokens, a window of 128, and heads 1/14 as wide as the "
    "stream at d = 7,168; here entries of 16, a window of 16, heads of width E",
    added="2026-11-30",
    used_by=(("DeepSeek-V4", "https://arxiv.org/abs/2606.19348"),),
)
class HeavilyCompressedAttention(CompressedAttention):
    r"""Read the last w tokens, and one entry :math:`C_i` for each complete block of m.

    .. math:: C_i = \mathrm{RMSNorm}\Big(\sum_{j \in \text{block } i}
              \mathrm{softmax}_j(Z_j + p_{j - mi}) \odot (W_C x_j)\Big), \quad Z_j = W_Z x_j

    .. math:: o_t = \frac{\sum_{s \in (t - w, t]} e^{a_{ts}} c_s
              + \sum_{i < \lfloor (t + 1) / m \rfloor} e^{b_{ti}} C_i}
              {\sum_s e^{a_{ts}} + \sum_i e^{b_{ti}} + e^z}, \quad
              a_{ts} = q_t \cdot c_s / \sqrt{E}, \quad b_{ti} = q_t \cdot C_i / \sqrt{E}

    The softmax that makes an entry is one for each channel; p is learned. The vectors c (RMSNorm
    of W x) and C are key and value at once and shared by all heads; q is normed per head; the sink
    z is learned per head. The paper makes q of low rank, projects groups of heads back on their
    own, and rotates a part of q, c and C by their positions; here the projections are softmax
    attention's, and positions come from the network. Decoding keeps the entries of complete
    blocks, the vectors of the window, and what the next entry is made of.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens of an entry, m; window: tokens, the query's own included."""

        block: int = 16
        window: int = 16

        def __post_init__(self) -> None:
            if min(self.block, self.window) < 1:
                raise ValueError("block and window must be at least 1")

    config: Config
    overlap = False
