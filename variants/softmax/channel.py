"""Transposed attention: channels attend to channels, with scores summed over all tokens."""

from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention
from cab.registry import register_variant


@register_variant(
    name="channel",
    family="softmax",
    patterns="ns",
    summary="softmax attention across the channels of a head instead of across tokens",
    paper="EdgeNeXt: Efficiently Amalgamated CNN-Transformer Architecture for Mobile Vision "
    "Applications (Maaz et al.)",
    year=2022,
    arxiv="2206.10589",
    time="N d E",
    memory="N d",
    published_defaults="temperature learned for each head, initially 1; the same here",
    added="2026-11-21",
)
class ChannelAttention(MultiHeadAttention):
    r"""Weigh channels by the cosine between their columns of queries and keys.

    .. math:: o_{ti} = \sum_j \mathrm{softmax}_j\left(\tau \frac{\sum_s q_{si} k_{sj}}
              {\lVert q_{\cdot i} \rVert \lVert k_{\cdot j} \rVert}\right) v_{tj}

    i and j are channels of one head, s and t unpadded tokens, tau the head's learned factor. This
    is the cross-covariance attention that EdgeNeXt's transposed attention takes from XCiT
    (El-Nouby et al., 2021, arXiv 2106.09681). DaViT (Ding et al., 2022, arXiv 2204.03645) divides
    the products by the square root of E instead of normalising, so that they grow with the
    length. The positions of tokens do not matter, and every output needs all tokens, so that
    there is no causal form.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.temperature = nn.Parameter(torch.ones(self.heads, 1, 1))

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o. Padded tokens come as zeros, which add to no product and to no norm."""
        q, k = F.normalize(q, dim=2), F.normalize(k, dim=2)
        weights = (self.temperature * (q.mT @ k)).softmax(dim=-1)
        return v @ weights.mT
