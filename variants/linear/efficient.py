"""Efficient attention: queries normalised over features, keys over positions."""

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.linear._features import padded_keys, softmax_over_visible


@register_variant(
    name="efficient",
    family="linear",
    patterns="ns nc",
    extended="nc",
    summary="softmax of queries over features times softmax of keys over positions",
    paper="Efficient Attention: Attention with Linear Complexities (Shen et al.)",
    year=2018,
    arxiv="1812.01243",
    time="N d^2",
    memory="N d",
    published_defaults="as many features as the head is wide; the same here",
    added="2026-11-21",
)
class EfficientAttention(MultiHeadAttention):
    r"""Compute one context vector per feature; each query mixes them.

    .. math:: o_t = \sum_j \mathrm{softmax}_j(q_t)_j
              \sum_{s \in V} \frac{\exp(k_{sj})}{\sum_{u \in V} \exp(k_{uj})} v_s

    V are the unpadded keys. The weights of a query sum to 1; scores are not scaled.
    """

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 if all keys are padded."""
        padded = padded_keys(k, key_padding_mask)
        over_positions = softmax_over_visible(k, padded[:, None, :, None], dim=2)
        return q.softmax(dim=-1) @ (over_positions.mT @ v)
