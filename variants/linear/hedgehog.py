"""Hedgehog: linear attention with a feature map trained to be as peaked as softmax."""

from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.linear._log_features import LogFeatureAttention


@register_variant(
    name="hedgehog",
    family="linear",
    patterns="ns cs nc cc",
    extended="nc cc",
    summary="linear attention with learned exponential features that mimic softmax",
    paper="The Hedgehog & the Porcupine: Expressive Linear Attentions with Softmax Mimicry "
    "(Zhang et al.)",
    year=2024,
    arxiv="2402.04347",
    time="N d^2",
    memory="N d",
    state="2 E (E + 1)",
    published_defaults="E pairs of features per head, initialised to the identity matrix; the "
    "same here",
    added="2026-11-21",
)
class HedgehogAttention(LogFeatureAttention):
    r"""Weigh values by :math:`\phi(q) \cdot \phi'(k)` with trained maps of each head.

    .. math:: \phi(x) = [\exp(W x + b), \exp(-W x - b)]

    W starts as the identity matrix and b as 0. Queries and keys have maps of their own. The paper
    trains the maps alone first where it converts a trained softmax network; here they are
    trained with all else, as in its networks from scratch.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.query_map, self.key_map = (
            nn.Parameter(torch.eye(self.head_width).repeat(self.heads, 1, 1)) for _ in range(2)
        )
        self.query_bias, self.key_bias = (
            nn.Parameter(torch.zeros(self.heads, 1, self.head_width)) for _ in range(2)
        )

    def no_weight_decay(self) -> set[str]:
        """Name the biases of the maps, a vector per head."""
        return {"query_bias", "key_bias"}

    def log_query_features(self, q: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N J"]:
        """Return W q + b and its negative."""
        return _with_negative(q @ self.query_map.to(q.dtype).mT + self.query_bias.to(q.dtype))

    def log_key_features(self, k: Float[Tensor, "B H M E"]) -> Float[Tensor, "B H M J"]:
        """Return W' k + b' and its negative."""
        return _with_negative(k @ self.key_map.to(k.dtype).mT + self.key_bias.to(k.dtype))


def _with_negative(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N F"]:
    return torch.cat((x, -x), dim=-1)
