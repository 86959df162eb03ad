"""Performer: softmax attention's kernel estimated by positive orthogonal random features."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.linear._log_features import LogFeatureAttention


@register_variant(
    name="performer",
    family="linear",
    patterns="ns cs nc cc",
    extended="nc cc",
    summary="the softmax kernel approximated by positive orthogonal random features",
    paper="Rethinking Attention with Performers (Choromanski et al.)",
    year=2020,
    arxiv="2009.14794",
    time="N features d",
    memory="N features H",
    state="features (E + 1)",
    budget="features",
    published_defaults="256 features, four times the head width of 64; here 64, four times 16",
    added="2026-11-21",
)
class PerformerAttention(LogFeatureAttention):
    r"""Estimate :math:`\exp(q \cdot k / \sqrt{E})` by random features (FAVOR+).

    .. math:: \exp(q \cdot k / \sqrt{E}) = \mathbb{E}_\omega[\phi_\omega(q) \phi_\omega(k)], \quad
              \phi_\omega(x) = \exp(\omega \cdot x' - |x'|^2 / 2), \quad x' = x / E^{1/4}

    with standard normal :math:`\omega`, orthogonal within each block of E. They are drawn once,
    are the same for all heads, and are not drawn anew in training as the paper does. The paper's
    code keeps exponentials in range by a maximum over the sequence and adds a small constant;
    here they are kept as logarithms, which is exact and never looks ahead.
    """

    @dataclass(frozen=True)
    class Config:
        """features: random features per head."""

        features: int = 64

        def __post_init__(self) -> None:
            if self.features < 1:
                raise ValueError("features must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.frequencies: Tensor
        self.register_buffer(
            "frequencies", _orthogonal_normal(self.config.features, self.head_width)
        )

    def log_query_features(self, q: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N J"]:
        """Return omega . q'; the rest of the logarithm cancels in the ratio."""
        return q / self.head_width**0.25 @ self.frequencies.to(q.dtype).mT

    def log_key_features(self, k: Float[Tensor, "B H M E"]) -> Float[Tensor, "B H M J"]:
        """Return omega . k' - |k'|^2 / 2."""
        k = k / self.head_width**0.25
        return k @ self.frequencies.to(k.dtype).mT - k.square().sum(dim=-1, keepdim=True) / 2


def _orthogonal_normal(count: int, width: int) -> Float[Tensor, "count width"]:
    """Draw rows that are standard normal each, and orthogonal within blocks of `width`."""
    directions = [torch.linalg.qr(torch.randn(width, width))[0] for _ in range(-(-count // width))]
    lengths = torch.randn(count, width).norm(dim=1, keepdim=True)
    return torch.cat(directions)[:count] * lengths
