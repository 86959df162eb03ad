"""Focal modulation: context gathered at several ranges, gated, and multiplied into the query."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import (
    Attention,
    Geometry,
    read_decoding_context,
    read_source,
    zero_padding,
)
from cab.registry import register_variant
from cab.variants.convolutional._convolution import Convolution


class FocalState(NamedTuple):
    """The decode state: what each level's convolution still needs, and the running mean's sum."""

    recent: tuple[Float[Tensor, "B R D"], ...]
    total: Float[Tensor, "B D"]
    count: Int[Tensor, "B 1"]


@register_variant(
    name="focal",
    family="convolutional",
    patterns="ns cs",
    extended="cs",
    summary="the query multiplied by gated depthwise convolutions of growing reach and their mean",
    paper="Focal Modulation Networks (Yang, Li, Dai, Yuan, Gao)",
    year=2022,
    arxiv="2203.11926",
    padding="distance",
    time="N d (d + levels^3)",
    memory="N d levels",
    state="(d levels (levels + 1) / 2 + d + 1) / H",
    published_defaults="2 levels with kernels of 3 and 5 (small receptive field), as here",
    added="2026-11-21",
)
class FocalModulation(Attention):
    r"""Gated sum of contexts :math:`z^\ell` of growing width, of which the last is the mean.

    .. math:: z^0 = W_z x, \quad z^\ell = \mathrm{GELU}(\mathrm{DWConv}_{2\ell+1}(z^{\ell-1})),
              \quad z^{L+1} = \mathrm{GELU}(\mathrm{mean}(z^L))

    .. math:: y_t = W_o \Big(W_q x_t \odot W_h \sum_{\ell=1}^{L+1} g_t^\ell z_t^\ell\Big),
              \qquad g_t = W_g x_t

    On a picture the kernels are squares, else they lie along the sequence. In CS, beyond the
    paper, they look back and the mean runs. Padding is zeroed at every level and not counted.
    """

    @dataclass(frozen=True)
    class Config:
        """levels: convolutions, level l with a kernel of 2 l + 1 (in CS the l + 1 of the past)."""

        levels: int = 2

        def __post_init__(self) -> None:
            if self.levels < 1:
                raise ValueError("levels must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.parts = (self.dim, self.dim, self.config.levels + 1)
        self.input = nn.Linear(self.dim, sum(self.parts))
        self.convolutions = nn.ModuleList(
            Convolution(self, self.dim, level + 1, bias=False)
            for level in range(self.config.levels)
        )
        self.modulator = nn.Linear(self.dim, self.dim)
        self.output = nn.Linear(self.dim, self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gather, gate, modulate. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        q, z, gates = self.input(x).split(self.parts, dim=-1)
        z = zero_padding(z, key_padding_mask)
        contexts = []
        for convolution in self.convolutions:
            z = zero_padding(F.gelu(convolution(z)), key_padding_mask)
            contexts.append(z)
        kept = torch.ones_like(z[:, :, :1], dtype=torch.long)
        if key_padding_mask is not None:
            kept = (~key_padding_mask).long()[:, :, None]
        wide = z.to(torch.promote_types(z.dtype, torch.float32))
        if self.pattern.causal:
            mean = wide.cumsum(dim=1) / kept.cumsum(dim=1).clamp(min=1)
        else:
            mean = wide.sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True).clamp(min=1)
        contexts.append(F.gelu(mean.to(z.dtype)).expand_as(z))
        return self._modulate(q, gates, contexts)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> FocalState:
        """Return the state before the first token."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        recent = tuple(one.nothing_recent(batch) for one in self.convolutions)
        wide = torch.promote_types(recent[0].dtype, torch.float32)
        total = recent[0].new_zeros(batch, self.dim, dtype=wide)
        return FocalState(recent, total, torch.zeros_like(total[:, :1], dtype=torch.long))

    def step(
        self, x: Float[Tensor, "B D"], state: FocalState
    ) -> tuple[Float[Tensor, "B D"], FocalState]:
        """Feed one token through the levels. See `Attention.step`."""
        q, z, gates = self.input(x).split(self.parts, dim=-1)
        contexts, recent = [], []
        for convolution, before in zip(self.convolutions, state.recent, strict=True):
            z, after = convolution.step(z, before)
            z = F.gelu(z)
            contexts.append(z)
            recent.append(after)
        total, count = state.total + z, state.count + 1
        contexts.append(F.gelu((total / count).to(z.dtype)))
        return self._modulate(q, gates, contexts), FocalState(tuple(recent), total, count)

    def _modulate(
        self, q: Float[Tensor, "*B D"], gates: Float[Tensor, "*B L"], contexts: list[Tensor]
    ) -> Float[Tensor, "*B D"]:
        gathered = (torch.stack(contexts, dim=-1) * gates[..., None, :]).sum(dim=-1)
        return self.output(q * self.modulator(gathered))
