"""Softmax attention with rotary positions."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.decoding import CachedAttention
from cab.errors import Unsupported
from cab.kernels.linear.rotation import places, rotate
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention


@register_variant(
    name="rope",
    family="softmax",
    patterns="ns cs",
    summary="softmax attention whose queries and keys are rotated by angles of their positions",
    paper="RoFormer: Enhanced Transformer with Rotary Position Embedding (Su et al.)",
    year=2021,
    arxiv="2104.09864",
    padding="distance",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
    published_defaults="angles 10,000^(-2 c / E) per position, the same here; pairs of "
    "neighbouring channels, here pairs half a head apart",
    added="2026-11-30",
    used_by=(
        (
            "gpt-oss",
            "https://docs.nvidia.com/nemo/megatron-bridge/nightly/models/llm/gpt-oss.html",
        ),
        ("GLM-5", "https://arxiv.org/abs/2602.15763"),
    ),
)
class RotaryAttention(CachedAttention):
    r"""Turn pairs of channels by the position, so that scores depend on distances.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s
              \left(\frac{(R^t q_t) \cdot (R^s k_s)}{\sqrt{E}}\right) v_s, \quad
              (R^t q_t) \cdot (R^s k_s) = q_t \cdot R^{s - t} k_s

    V_t are the unpadded positions; in CS those up to t. R turns the pair c of channels, c and
    c + E / 2, by :math:`10{,}000^{-2c/E}`; the paper pairs neighbours, which is the same after a
    permutation of the rows of the projections. Of an odd number of channels the last one is not
    turned. The paper has no other positions; here the rotations stand beside whatever positions
    the backbone gives. Between a stream and a context there is no distance, so that the cross
    patterns are left out.
    """

    def turn_by(self, turn: nn.Module) -> None:
        """Refuse: queries and keys are turned here already. See `Attention.turn_by`."""
        raise Unsupported(
            "rope turns its queries and keys itself. Leave out --set model.positions=rotary."
        )

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. The queries are the last N of M."""
        positions = places(k)
        turned = (
            rotate(q, positions[k.shape[2] - q.shape[2] :]).to(q.dtype),
            rotate(k, positions).to(k.dtype),
        )
        causal = self.pattern == Pattern.CS
        return softmax_attention(*turned, v, causal=causal, key_padding_mask=key_padding_mask)
