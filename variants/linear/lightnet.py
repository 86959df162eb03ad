"""LightNet: linear attention with an additive recurrence, computed in one scan."""

from typing import Any, Unpack

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import DecodingAttention
from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.vector_decay import vector_decay_attention
from cab.registry import register_variant
from cab.variants.linear._prefix_softmax import SoftmaxSum, prefix_softmax, softmax_sum


@register_variant(
    name="lightnet",
    family="linear",
    patterns="ns cs",
    summary="each key channel averages the values by a softmax over time, in one scan",
    paper="You Only Scan Once: Efficient Multi-dimension Sequential Modeling with LightNet "
    "(Qin et al.)",
    year=2024,
    arxiv="2405.21022",
    time="N d^2",
    memory="N d",
    state="E (E + 1)",
    published_defaults="a gate of low rank; here of the head width",
    added="2026-11-21",
)
class LightnetAttention(DecodingAttention):
    r"""Decay the state by the growth of the sum of the keys' exponentials.

    .. math:: S_t = \frac{z_{t-1}}{z_t} \odot S_{t-1} + \frac{e^{k_t}}{z_t} v_t^\top, \quad
              z_t = \sum_{s \le t} e^{k_s}, \quad o_t = S_t^\top \mathrm{silu}(q_t), \quad
              y_t = W_o (\mathrm{norm}(o_t) \odot \mathrm{sigmoid}(W_2 W_1 x_t))

    The sum is the same in any order, so without causality S is that of the last token, for
    all: one scan, where a decay by distance would need one per direction. norm divides the
    joined heads by their root mean square; its weights are in W_o. The positions that the paper
    adds for pictures are the backbone's here.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.gate = nn.Sequential(
            nn.Linear(self.dim, self.head_width, bias=False),
            nn.Linear(self.head_width, self.dim, bias=False),
            nn.Sigmoid(),
        )

    def answer(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise, gate, project."""
        return self.output(_normalise(self.merge_heads(mixed)) * self.gate(x))

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, not yet normalised; 0 for a query that sees nothing."""
        return at_least_float32(self._attend)(q, k, v, key_padding_mask)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        key_padding_mask: Bool[Tensor, "B N"] | None,
    ) -> Float[Tensor, "B H N E"]:
        if not self.pattern.causal:
            return self.recall(q, self.absorb(None, k, v, key_padding_mask))
        prefix = prefix_softmax(k, key_padding_mask)
        return vector_decay_attention(F.silu(q), prefix.weight, v, prefix.log_decay)

    def absorb(
        self,
        state: SoftmaxSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> SoftmaxSum:
        """Add the keys to the mean value of every channel."""
        return softmax_sum(k, v, key_padding_mask, state)

    def recall(self, q: Float[Tensor, "B H N E"], state: SoftmaxSum) -> Float[Tensor, "B H N E"]:
        """Read the means with the queries."""
        return at_least_float32(_read)(q, state.mean)


def _read(q: Float[Tensor, "B H N E"], mean: Float[Tensor, "B H E V"]) -> Float[Tensor, "B H N V"]:
    return F.silu(q) @ mean


def _normalise(x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)
