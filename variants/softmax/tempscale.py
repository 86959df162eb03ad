"""Softmax attention at a lower temperature, against the collapse of embeddings of long texts."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention


@register_variant(
    name="tempscale",
    family="softmax",
    patterns="ns cs nc cc",
    extended="cs nc cc",
    summary="softmax attention at a fixed temperature below 1",
    paper="Length-Induced Embedding Collapse in Transformer-based Models (Zhou et al.)",
    year=2024,
    arxiv="2410.24200",
    time="N M d",
    memory="N M",
    state="2 M E",
    published_defaults="a temperature below 1, chosen for each model; here 0.8 at every length",
    added="2026-11-21",
)
class TempScaleAttention(CachedAttention):
    r"""Divide the scores by a temperature :math:`\tau`.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / (\tau \sqrt{E})) v_s

    V_t are the unpadded keys; in CS those at positions up to t. Attention averages, the more so
    the longer the text; sharper weights keep tokens apart for longer. The paper lowers
    :math:`\tau` in trained encoders. Here the model is trained with it, so that it acts as a
    larger scale of the first queries, which training may undo. :math:`\tau = 1` is softmax.
    """

    @dataclass(frozen=True)
    class Config:
        """temperature: what scores are divided by, on top of the square root of the width."""

        temperature: float = 0.8

        def __post_init__(self) -> None:
            if not self.temperature > 0:
                raise ValueError("temperature must be above 0")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        return softmax_attention(
            q,
            k,
            v,
            causal=self.pattern == Pattern.CS,
            key_padding_mask=key_padding_mask,
            scale=1 / (self.config.temperature * self.head_width**0.5),
        )
