"""Landmark attention: earlier blocks are read through one key each, in a grouped softmax."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.variants.sparse._blocks import cut, join, padding_of
from cab.variants.sparse._by_label import Part, attend_to_chosen, attend_to_part, join_parts


@register_variant(
    name="landmark",
    family="sparse",
    patterns="cs",
    summary="softmax over the query's own block and over landmarks, each of which opens an "
    "earlier block",
    paper="Landmark Attention: Random-Access Infinite Context Length for Transformers "
    "(Mohtashami, Jaggi)",
    year=2023,
    arxiv="2305.16300",
    padding="position",
    time="N (N / block + 12 top_k block) d",
    memory="N (N / block + 12 top_k block)",
    state="2 M E",
    sees="chosen",
    published_defaults="blocks of 50 tokens, of which 2 or 4 are read, besides the query's own "
    "block of 250 to 512 tokens; here blocks of 8, of which 2 are read besides the query's own",
    added="2026-11-21",
)
class LandmarkAttention(CachedAttention):
    r"""Grouped softmax: a landmark's weight is distributed over the tokens of its block.

    .. math:: l_b = k_{\text{last of } b} + W_K e, \quad
              (w_t, p_t) = \operatorname{softmax}\big([q_t \cdot k_s]_{s \in I_{b(t)}, s \le t} /
              \sqrt{E},\ [q_t \cdot l_b]_{b \in B_t} / \sqrt{E}\big), \quad
              o_t = \sum_s w_{ts} v_s + \sum_{b \in B_t} p_{tb}
              \sum_{s \in I_b} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    :math:`I_b` are blocks of tokens, :math:`b(t)` is the query's own and :math:`B_t` are the k
    earlier ones with the highest :math:`q_t \cdot l_b`; the landmark's weight gives the choice its
    gradient. The paper puts a landmark token behind each block of the text, trains with all
    earlier blocks and chooses k of them when it answers. A mixer cannot lengthen its stream, so
    here the last token of a block is its landmark too, marked by a learned embedding e, and
    training chooses as answering does.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens. top_k: earlier blocks that a query reads."""

        block: int = 8
        top_k: int = 2

        def __post_init__(self) -> None:
            if min(self.block, self.top_k) < 1:
                raise ValueError("block and top_k must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.landmark = nn.Parameter(0.02 * torch.randn(1, 1, self.dim))

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing."""
        block, length = self.config.block, q.shape[2]
        q = q / self.head_width**0.5
        gone = cut(padding_of(k, key_padding_mask), 2, block, fill=True)  # (B, 1, n, b)
        keys, values = cut(k, 2, block), cut(v, 2, block)
        later = torch.ones(block, block, dtype=torch.bool, device=q.device).triu(1)
        own = attend_to_part(cut(q, 2, block) @ keys.mT, gone[..., None, :] | later, values)
        number = torch.arange(length, device=q.device) // block
        return join_parts(
            [
                Part(*(join(x, 2, length) for x in own)),
                *self._open(q, keys, values, gone, number),
            ]
        )

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the newest token's block and to those that it opens."""
        block, last = self.config.block, state.k.shape[2] - 1
        q, start = q / self.head_width**0.5, last - last % block
        gone = cut(padding_of(state.k, state.key_padding_mask), 2, block, fill=True)
        near = state.k[:, :, start:], state.v[:, :, start:]
        own = attend_to_part(
            q @ near[0].mT, state.key_padding_mask[:, None, None, start:], near[1]
        )
        keys, values = cut(state.k, 2, block), cut(state.v, 2, block)
        number = torch.full((1,), last // block, device=q.device)
        return join_parts([own, *self._open(q, keys, values, gone, number)])

    def _open(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H n b E"],
        v: Float[Tensor, "B H n b E"],
        gone: Bool[Tensor, "B 1 n b"],
        own: Int[Tensor, " N"],
    ) -> list[Part]:
        """Attend to the earlier blocks that each query opens, weighed by their landmarks."""
        blocks = k.shape[2]
        landmarks = k[:, :, :, -1] + self.split_heads(self.key(self.landmark))
        with torch.no_grad():
            closed = (torch.arange(blocks, device=q.device) >= own[:, None]) | gone[
                :, :, None, :, -1
            ]
            scores = (q @ landmarks.mT).masked_fill(closed, -torch.inf)
            best = scores.topk(min(self.config.top_k, blocks), dim=-1)
        parts = []
        for block, score in zip(best.indices.unbind(-1), best.values.unbind(-1), strict=True):
            none = (score == -torch.inf)[..., None]
            index = block[..., None].expand(-1, -1, -1, q.shape[3])
            weight = (q * landmarks.gather(2, index)).sum(dim=-1, keepdim=True)
            part = attend_to_chosen(q, k, v, gone, block.masked_fill(none[..., 0], blocks))
            weight = weight.to(part.log_weight.dtype)
            lowest = torch.finfo(weight.dtype).min
            parts.append(Part(part.mean, weight.masked_fill(none, lowest)))
        return parts
