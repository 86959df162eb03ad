"""Soft mask: attention that turns from bidirectional to causal in the course of training."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry, MultiHeadAttention
from cab.registry import register_variant
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="soft-causal",
    family="softmax",
    patterns="ns",
    summary="softmax weights of later tokens fade to 0 in the first steps of training",
    paper="Adapting LLaMA Decoder to Vision Transformer (Wang et al.)",
    year=2024,
    arxiv="2404.06773",
    time="N^2 d",
    memory="N^2 H",
    published_defaults="the weights fall linearly, or stay and then are dropped, up to an epoch "
    "that is chosen; here linearly over 500 steps",
    added="2026-11-30",
)
class SoftCausalAttention(MultiHeadAttention):
    r"""Multiply the weights of later tokens by a rate r that falls from 1 to 0.

    .. math:: o_t = \sum_s m_{ts} \, \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) \, v_s, \quad
              m_{ts} = \begin{cases} 1 & s \le t \\ r & s > t \end{cases}, \quad
              r = \max(0, 1 - \mathrm{step} / S)

    The softmax runs over all unpadded tokens, also when r is 0, and is not normalised again, as in
    the authors' code: trained, the layer reads earlier tokens, with weights that later ones
    have lowered. For this it is not a causal variant (CS): the card's `sees` says what it reads
    before r is 0. Steps are counted in the state dict; an evaluation uses the rate of its step.
    Work grows with N^2. The paper also moves the class token to the end; networks here pool the
    mean.
    """

    @dataclass(frozen=True)
    class Config:
        """steps: S, after which r is 0."""

        steps: int = 500

        def __post_init__(self) -> None:
            if self.steps < 1:
                raise ValueError("steps must be at least 1")

    config: Config
    done: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.register_buffer("done", torch.zeros((), dtype=torch.long))

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
        weights = masked_softmax((q / self.head_width**0.5) @ k.mT, hidden)
        rate = (1 - self.done.to(weights.dtype) / self.config.steps).clamp(min=0)
        return (weights.tril() + rate * weights.triu(1)) @ v

    def after_step(self) -> None:
        """Count the step."""
        self.done += 1
