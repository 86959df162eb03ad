"""Mega-chunk: Mega whose attention stays within chunks, in linear time."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.hybrid._mega import MegaAttention


@register_variant(
    name="mega-chunk",
    family="hybrid",
    patterns="ns cs",
    summary="exponential moving average over all tokens, gated softmax attention within chunks",
    paper="Mega: Moving Average Equipped Gated Attention (Ma, Zhou, Kong, He, Gui, Neubig, May, "
    "Zettlemoyer)",
    year=2022,
    arxiv="2209.10655",
    padding="position",
    time="N d (d + chunk)",
    memory="N (d + chunk)",
    state="((M % chunk) (max(1, d // 4) + max(1, d // 2)) + d averages) / H",
    published_defaults="chunks of 128 for 1,024 to 16,384 tokens, here 16 for 128; 16 averages "
    "per channel, values 2 d wide; here 8, and d / 2; all averages start at time constants near "
    "3.5 tokens; here of 1/64 of the training length (at least 2 tokens) to twice that length, "
    "evenly spread in their logarithm; linear layers drawn from N(0, 0.02), here as PyTorch does",
    added="2026-11-21",
)
class MegaChunk(MegaAttention):
    r"""`mega`, but :math:`o_t` attends to its own chunk only: s with s // chunk = t // chunk.

    What lies beyond the chunk arrives through the moving average of which queries and keys are
    made; the last chunk may be shorter. In decoding a full chunk is forgotten.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk: tokens that attend to each other; averages per channel."""

        chunk: int = 16
        averages: int = 8

        def __post_init__(self) -> None:
            if self.chunk < 1 or self.averages < 1:
                raise ValueError("chunk and averages must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        config = config or self.Config()
        super().__init__(config, config.chunk, config.averages, **geometry)

    def meet(
        self,
        q: Float[Tensor, "B N Z"],
        k: Float[Tensor, "B N Z"],
        v: Float[Tensor, "B N V"],
        absent: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N V"]:
        """Cut into chunks; what fills up the last one is absent."""
        length, chunk = q.shape[1], min(self.config.chunk, q.shape[1])
        missing = -length % chunk
        q, k, v = (F.pad(x, (0, 0, 0, missing)).unflatten(1, (-1, chunk)) for x in (q, k, v))
        absent = F.pad(absent, (0, missing), value=True).unflatten(1, (-1, chunk))
        return self.attend(q, k, v, absent).flatten(1, 2)[:, :length]

    def keep(self, k: Float[Tensor, "B M Z"]) -> int:
        """Keep the chunk until it is full."""
        return k.shape[1] % self.config.chunk
