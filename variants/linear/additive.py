"""Additive attention: one global query and one global key, each a weighted sum over tokens."""

from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention
from cab.registry import register_variant
from cab.variants.linear._features import padded_keys, softmax_over_visible


@register_variant(
    name="additive",
    family="linear",
    patterns="ns",
    summary="products of each token with a global query and a global key instead of pairwise "
    "scores",
    paper="TransforMatcher: Match-to-Match Attention for Semantic Correspondence (Kim, Min, Cho)",
    year=2022,
    arxiv="2205.11634",
    time="N d^2",
    memory="N d",
    published_defaults="no hyper-parameters",
    added="2026-11-21",
)
class AdditiveAttention(MultiHeadAttention):
    r"""Pool the queries, pool the keys by their product with that, and scale the values.

    .. math:: \bar q = \sum_t \mathrm{softmax}_t(a \cdot q_t / \sqrt{E}) q_t, \quad
              \bar k = \sum_s \mathrm{softmax}_s(b \cdot (k_s \odot \bar q) / \sqrt{E}) k_s, \quad
              o_t = R (v_t \odot \bar k) + q_t

    with vectors a and b and a matrix R that all heads share. The form is close to Fastformer's (Wu
    et al., 2021, arXiv 2108.09084), whose global key sums the products of keys and :math:`\bar q`
    where this one sums the keys. The paper mixes the matches of two pictures so, with rotary
    positions, and halves widths for them; positions are left to the backbone. Every query enters
    the global one, so there is no causal form.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.query_weight, self.key_weight = (
            nn.Linear(self.head_width, 1, bias=False) for _ in range(2)
        )
        self.mix = nn.Linear(self.head_width, self.head_width)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; where all keys are padded the global ones are 0."""
        padded = padded_keys(k, key_padding_mask)[:, None, :, None]
        scale = self.head_width**-0.5
        global_query = _summary(scale * self.query_weight(q), q, padded)
        global_key = _summary(scale * self.key_weight(k * global_query), k, padded)
        return self.mix(v * global_key) + q


def _summary(
    scores: Float[Tensor, "B H N 1"],
    x: Float[Tensor, "B H N E"],
    padded: Bool[Tensor, "B 1 N 1"],
) -> Float[Tensor, "B H 1 E"]:
    return softmax_over_visible(scores, padded, dim=2).mT @ x
