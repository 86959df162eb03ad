"""Token reorganisation: queries read the most attentive tokens and one that fuses the rest."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, padding_of, weigh


class Kept(NamedTuple):
    """The tokens that are kept, their place in the sequence, and which places hold none."""

    index: Tensor
    hidden: Bool[Tensor, "B k"]
    rest: Float[Tensor, "B N"]
    """The attentiveness of the tokens that are fused, 0 for all others."""


@register_variant(
    name="token-reorg",
    family="sparse",
    patterns="ns",
    summary="softmax over the tokens that get most attention, and one token that fuses the rest",
    paper="Not All Patches are What You Need: Expediting Vision Transformers via Token "
    "Reorganizations (Liang, Ge, Tong, Song, Wang, Xie)",
    year=2022,
    arxiv="2202.07800",
    time="N ceil(keep N) d",
    memory="N ceil(keep N)",
    sees="chosen",
    published_defaults="70 % of the tokens kept, as here, in 3 of 12 layers, of which the later "
    "ones see what the earlier ones kept; here each layer chooses anew, among all tokens",
    added="2026-11-30",
)
class TokenReorganization(MultiHeadAttention):
    r"""Softmax over the kept tokens K and the fused token f.

    .. math:: a_s = \operatorname{mean}_h \mathrm{softmax}_s(\bar q \cdot k_s / \sqrt{E}), \quad
              K = \operatorname{top}_{\lceil \kappa n \rceil} a, \quad
              x_f = \sum_{s \notin K} a_s x_s

    .. math:: o_t = \sum_{s \in K \cup \{f\}} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    for n unpadded tokens. The attentiveness a is that of the class token in the paper; networks
    here have none and pool the mean, so that :math:`\bar q` is the mean query. The weights of the
    fused token sum to less than 1, as in the paper. There the tokens outside K leave the network;
    a layer here must answer them, so they still ask but are read only through f. The choice has
    no gradient, the weights of f have. Keeping all tokens is softmax. Work grows with kappa N^2.
    """

    @dataclass(frozen=True)
    class Config:
        """keep: kappa, the share of tokens that is kept, in (0, 1]."""

        keep: float = 0.7

        def __post_init__(self) -> None:
            if not 0 < self.keep <= 1:
                raise ValueError("keep must be above 0 and at most 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for queries of a row that is all padding."""
        absent = padding_of(k, key_padding_mask)[:, 0]
        q = q / math.sqrt(self.head_width)
        kept = self._choose(q, k, absent)
        place = kept.index[:, None, :, None].expand(-1, self.heads, -1, self.head_width)
        fused = kept.rest[:, None, None]
        keys, values = (torch.cat((x.gather(2, place), fused @ x), dim=2) for x in (k, v))
        nothing_fused = (kept.rest == 0).all(dim=1, keepdim=True)
        hidden = torch.cat((kept.hidden, nothing_fused), dim=1)
        return attend_visible(q, keys, values, hidden[:, None, None])

    def _choose(
        self, q: Float[Tensor, "B H N E"], k: Float[Tensor, "B H N E"], absent: Bool[Tensor, "B N"]
    ) -> Kept:
        """Keep the share of each row's own tokens, whatever the length of the longest row."""
        count = (~absent).sum(dim=1)
        mean = q.masked_fill(absent[:, None, :, None], 0.0).sum(dim=2, keepdim=True)
        mean = mean / count.clamp(min=1)[:, None, None, None]
        (weights,) = weigh((mean @ k.mT, absent[:, None, None]))
        attentive = weights.mean(dim=1)[:, 0]
        order = attentive.detach().masked_fill(absent, -1.0).argsort(dim=1, descending=True)
        wanted = (count * self.config.keep).ceil().long()[:, None]
        most = math.ceil(self.config.keep * absent.shape[1])
        index = order[:, :most]
        hidden = torch.arange(most, device=q.device) >= wanted
        taken = torch.zeros_like(absent).scatter(1, index, ~hidden)
        return Kept(index, hidden, attentive.masked_fill(taken | absent, 0.0))
