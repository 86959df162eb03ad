"""Gated DeltaNet-2: the delta rule with separate gates, per channel, for erasing and writing."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Unpack

from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.recurrent._delta import ChannelDelta, check_delta_config


@register_variant(
    name="gdn2",
    family="recurrent",
    patterns="cs",
    summary="the delta rule with decays and erase gates per key channel, write gates per value "
    "channel",
    paper="Gated DeltaNet-2: Decoupling Erase and Write in Linear Attention "
    "(Hatamizadeh, Choi, Kautz)",
    year=2026,
    arxiv="2605.22791",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="ceil(key_share E) E + (kernel - 1) (2 ceil(key_share E) + E)",
    published_defaults="short convolutions of 4 tokens, as here; keys as wide as values (6 d^2 "
    "parameters), here half as wide (4.5 d^2); low-rank gates as wide as a head, here 4 for a "
    "width of 64; rates in [1, 16] and steps in [0.001, 0.1] drawn; here rates of 1, and steps "
    "that give time constants of 1/64 of the training length (at least 2 tokens) to twice that "
    "length, evenly spread in their logarithm over the key channels",
    added="2026-11-30",
)
class GatedDeltaNet2(ChannelDelta):
    r"""`kda` with beta replaced by a gate e on the key's channels and one, w, on the value's.

    .. math:: S_t = (I - k_t (e_t \odot k_t)^\top) \mathrm{diag}(\alpha_t) S_{t-1}
              + k_t (w_t \odot v_t)^\top, \quad
              e_t = \sigma(W_e x_t), \quad w_t = \sigma(W_w x_t)

    The answer is read, normalised and gated, and the decay :math:`\alpha_t` made, as in `kda`,
    which this is where all channels of e and w are one number (the paper names e b).
    """

    @dataclass(frozen=True)
    class Config:
        """key_share: width of keys over values; rank of the decay and of the output gate;
        kernel: tokens; chunk: a power of two (cost only).
        """

        key_share: float = 0.5
        rank: int = 4
        kernel: int = 4
        chunk: int = 32

        def __post_init__(self) -> None:
            if self.key_share <= 0:
                raise ValueError("key_share must be positive")
            check_delta_config(self.rank, self.kernel, self.chunk)

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.erase = nn.Linear(self.dim, self.heads * self.state_shape[0], bias=False)
        self.insert = nn.Linear(self.dim, self.dim, bias=False)

    def key_width(self, width: int) -> int:
        """Return key_share of the values' width, rounded up."""
        return ceil(self.config.key_share * width)

    def gates(
        self, x: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B H N K"], Float[Tensor, "B H N V"]]:
        """Return e and w."""
        erase, insert = (self.split_heads(part(x)) for part in (self.erase, self.insert))
        return erase.sigmoid(), insert.sigmoid()
