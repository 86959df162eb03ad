"""Modality-mutual attention: causal attention whose first segment also reads the second."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="modality-mutual",
    family="softmax",
    patterns="ns",
    summary="causal softmax attention in which the tokens of a first segment also read those of "
    "the second",
    paper="Seeing is Understanding: Unlocking Causal Attention into Modality-Mutual Attention for "
    "Multimodal LLMs (Wang, Wang, Suzuki, Kobayashi)",
    year=2025,
    arxiv="2503.02597",
    time="N^2 d",
    memory="N^2 H",
    sees="s <= t or (t < N share // 1 and s >= N share // 1)",
    published_defaults="the first segment is a picture's tokens and the second a question's; here "
    "the halves of the sequence",
    added="2026-11-30",
)
class ModalityMutualAttention(MultiHeadAttention):
    r"""Open, in a causal mask, the block of first-segment queries and second-segment keys.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s, \quad
              V_t = \{s \le t\} \cup \begin{cases} \{s \ge S\} & t < S \\ \emptyset & t \ge S
              \end{cases}

    counted from 0, with S the length of the first segment; padding is left out and not counted.
    Tokens within a segment see earlier ones only, so work grows with N^2 as in softmax attention.
    In the paper the first segment is the picture, the second the question, and the answer that
    follows is decoded causally. The contract of a layer has no segments, so that they are a share
    of the sequence here. Tokens of the first segment read later ones, which makes this NS, not CS.
    """

    @dataclass(frozen=True)
    class Config:
        """share: S as a part of the sequence, rounded down."""

        share: float = 0.5

        def __post_init__(self) -> None:
            if not 0 <= self.share <= 1:
                raise ValueError("share must be between 0 and 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing."""
        hidden = hidden_pairs(q, k, causal=False, key_padding_mask=key_padding_mask)
        present = ~hidden[:, :, 0]
        rank = present.long().cumsum(dim=-1) - 1
        first = rank < (present.sum(dim=-1, keepdim=True).double() * self.config.share).floor()
        later = torch.ones_like(hidden[:1, :1]).triu(1)
        opened = first[..., :, None] & ~first[..., None, :]
        hidden = hidden | (later & ~opened)
        return masked_softmax((q / self.head_width**0.5) @ k.mT, hidden) @ v
