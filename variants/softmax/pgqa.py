"""Perturbed grouped-query attention: noise is taken from the heads' outputs in training."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.softmax._masked import softmax_attention
from cab.variants.softmax._query_groups import QueryGroups


@register_variant(
    name="pgqa",
    family="softmax",
    patterns="ns nc",
    extended="nc",
    summary="grouped-query attention from whose outputs noise of their own mean and deviation is "
    "subtracted in training",
    paper="Beyond Uniform Query Distribution: Key-Driven Grouped Query Attention (Khan, Khaquan, "
    "Tafveez, Samiwala, Raza)",
    year=2024,
    arxiv="2408.08454",
    time="N M d",
    memory="N M H",
    published_defaults="half as many key heads as query heads, and noise in evaluation too; here "
    "groups of 2 query heads, and noise in training only",
    added="2026-11-30",
)
class PerturbedGroupedQueryAttention(QueryGroups):
    r"""Subtract noise with the statistics of the head's output from grouped-query attention.

    .. math:: \tilde o_t^h = o_t^h - \lambda (\mu_h + \sigma_h \epsilon_t^h), \quad
              o_t^h = \sum_s \mathrm{softmax}_s(q_t^h \cdot k_s^{g(h)} / \sqrt{E}) v_s^{g(h)}

    :math:`\mu_h, \sigma_h` are mean and deviation of head h's output over the tokens and features
    of an example, without gradients in the noise :math:`\epsilon`, which is uniform with mean 0
    and deviation 1 as in the authors' code; :math:`\lambda` is the setting noise. Work grows with
    N M. The authors perturb evaluation as well; here an evaluation is exact, and without noise
    this is `gqa`. Their noise is standardised by the sample's own mean and deviation, here by
    those of its law, and they set one entry for each head to 0, which is left out. The statistics
    run over all tokens, so there is no causal form. g(h) is the group of head h, as in `gqa`.
    """

    @dataclass(frozen=True)
    class Config:
        """heads_per_group: query heads for each key head. noise: lambda."""

        heads_per_group: int = 2
        noise: float = 1.0

        def __post_init__(self) -> None:
            if self.heads_per_group < 1 or self.noise < 0:
                raise ValueError("heads_per_group must be at least 1 and noise at least 0")

    config: Config
    group_of_head: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.register_buffer("group_of_head", self.even_groups(), persistent=False)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B G M E"],
        v: Float[Tensor, "B G M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return the perturbed heads; in evaluation those of grouped-query attention."""
        k, v = k[:, self.group_of_head], v[:, self.group_of_head]
        out = softmax_attention(q, k, v, causal=False, key_padding_mask=key_padding_mask)
        if not self.training or not self.config.noise:
            return out
        padded = None if self.pattern.cross else key_padding_mask
        return out - self.config.noise * _noise_like(out, padded)


def _noise_like(
    out: Float[Tensor, "B H N E"], padded: Bool[Tensor, "B N"] | None
) -> Float[Tensor, "B H N E"]:
    """Return uniform noise with mean and deviation of each head; padded queries do not count."""
    present = torch.ones_like(out[:, :1, :, :1])
    if padded is not None:
        present = present.masked_fill(padded[:, None, :, None], 0.0)
    count = (present.sum(dim=2, keepdim=True) * out.shape[-1]).clamp(min=1)
    mean = (out * present).sum(dim=(2, 3), keepdim=True) / count
    variance = ((out - mean) * present).square().sum(dim=(2, 3), keepdim=True) / count
    uniform = (torch.rand_like(out) - 0.5) * 12**0.5
    return mean + (variance + torch.finfo(out.dtype).tiny).sqrt() * uniform
