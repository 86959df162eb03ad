"""Ultra-lightweight subspace attention: each group of channels has an attention map of its own."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.errors import UnsupportedWidth
from cab.registry import register_variant
from cab.variants.feature_map._maps import over_places, to_map, to_tokens, zero_places


@register_variant(
    name="ulsam",
    family="feature_map",
    patterns="ns",
    summary="groups of channels, each with a softmax over all places that is added to 1",
    paper="ULSAM: Ultra-Lightweight Subspace Attention Module for Compact Convolutional Neural "
    "Networks (Saini, Jha, Das, Mittal, Mohan)",
    year=2020,
    arxiv="2006.15102",
    time="N d",
    memory="N d",
    sees="t == s or rows > 2 or columns > 2",
    needs_grid=True,
    published_defaults="4 subspaces, as here, and batch norms behind both convolutions, which "
    "are left out here",
    added="2026-11-30",
)
class SubspaceAttention(Attention):
    r"""Part the channels into subspaces, and gate the places of each.

    .. math:: y_t^g = x_t^g (1 + a_t^g), \quad
              a^g = \mathrm{softmax}_t\left(w^g \cdot
              \max_{s \in V_t} \mathrm{relu}(m^g \odot x_s^g + b^g)\right)

    g counts the subspaces of D / G channels, :math:`V_t` are the 3 x 3 places around t; the
    softmax runs over unpadded places, so the a of a subspace sum to 1. On a map of at most 2 x 2
    places all are equal. The rectifier is that of the authors' code. Their batch norms, in which
    rows of a batch would meet, are left out, and the rectifier behind the second, which would
    often give 0 at every place.
    """

    @dataclass(frozen=True)
    class Config:
        """subspaces: groups of channels."""

        subspaces: int = 4

        def __post_init__(self) -> None:
            if self.subspaces < 1:
                raise ValueError("subspaces must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim, subspaces = self.dim, self.config.subspaces
        if dim % subspaces:
            raise UnsupportedWidth(
                f"{subspaces} subspaces do not divide {dim} channels: set another `subspaces`."
            )
        self.depthwise = nn.Conv2d(dim, dim, 1, groups=dim)
        self.score = nn.Conv2d(dim, subspaces, 1, groups=subspaces, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        features = self.depthwise(to_map(x, self.grid)).relu()
        features = zero_places(features, key_padding_mask)  # none is less, so none is a maximum
        scores = to_tokens(self.score(F.max_pool2d(features, 3, stride=1, padding=1)))
        gates = 1 + over_places(scores, key_padding_mask)
        return x * gates.repeat_interleave(self.dim // self.config.subspaces, dim=2)
