"""Mega: a moving average feeds a gated attention with a single head."""

from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.hybrid._mega import MegaAttention


@register_variant(
    name="mega",
    family="hybrid",
    patterns="ns cs",
    summary="exponential moving average, then gated softmax attention with one head",
    paper="Mega: Moving Average Equipped Gated Attention (Ma, Zhou, Kong, He, Gui, Neubig, May, "
    "Zettlemoyer)",
    year=2022,
    arxiv="2209.10655",
    padding="distance",
    time="N^2 d + N d^2",
    memory="N^2 + N d",
    state="(M (max(1, d // 4) + max(1, d // 2)) + d averages) / H",
    published_defaults="16 averages per channel, z = d / 4, values 2 d wide (8 d^2 parameters); "
    "here 8 averages, z = d / 4, values d / 2 (3.75 d^2); all averages start at time constants "
    "near 3.5 tokens; here of 1/64 of the training length (at least 2 tokens) to twice that "
    "length, evenly spread in their logarithm; linear layers drawn from N(0, 0.02), here as "
    "PyTorch does",
    added="2026-11-21",
)
class Mega(MegaAttention):
    r"""Queries, keys and gates come from :math:`m = \mathrm{SiLU}(\mathrm{EMA}(x) + \omega x)`.

    .. math:: z = \mathrm{SiLU}(W_z m), \quad q, k = \kappa z + \mu, \quad
              v = \mathrm{SiLU}(W_v x), \quad
              o = \mathrm{softmax}(q k^\top / \sqrt{Z} + b_{t-s}) v

    .. math:: \hat{h} = \mathrm{SiLU}(W_h m + U_h (\gamma \odot o)), \quad
              y = \varphi \odot \hat{h} + (1 - \varphi) \odot x

    with reset gate gamma = SiLU(W m), update gate phi = sigmoid(W m) and a learned bias per
    distance. The average is two-sided in NS. omega is of the authors' code. The
    module returns phi (h - x), and the backbone adds its stream, of which x is the normalised
    form (the authors' x in the last formula is the stream itself, which no mixer sees here).
    Laplace attention, an option of the paper, is left out.
    """

    @dataclass(frozen=True)
    class Config:
        """averages: exponential moving averages per channel."""

        averages: int = 8

        def __post_init__(self) -> None:
            if self.averages < 1:
                raise ValueError("averages must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        config = config or self.Config()
        super().__init__(config, geometry["max_length"], config.averages, **geometry)

    def meet(
        self,
        q: Float[Tensor, "B N Z"],
        k: Float[Tensor, "B N Z"],
        v: Float[Tensor, "B N V"],
        absent: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N V"]:
        """Every query meets every key (in CS, every earlier one)."""
        return self.attend(q, k, v, absent)

    def keep(self, k: Float[Tensor, "B M Z"]) -> int:
        """Keep all keys."""
        return k.shape[1]
