"""Pervasive attention: a network of masked convolutions over all pairs of stream and context."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_decoding_context, read_source
from cab.registry import register_variant


class Rows(NamedTuple):
    """The decode state: the context's channels, and each convolution's last input rows."""

    source: Float[Tensor, "B M C"]
    kept: Bool[Tensor, "B M"]
    recent: tuple[Float[Tensor, "B F R M"], ...]


@register_variant(
    name="pervasive",
    family="convolutional",
    patterns="cc",
    summary="causal 2-D convolutions over the grid of stream and context tokens, then a maximum "
    "over the context",
    paper="Pervasive Attention: 2D Convolutional Neural Networks for Sequence-to-Sequence "
    "Prediction (Elbayad, Besacier, Verbeek)",
    year=2018,
    arxiv="1808.03867",
    time="N M d^2 layers kernel^2",
    memory="N M d layers",
    state="M (ceil(d / 2) + 4 ceil(d / 8) layers (kernel // 2)) / H",
    sees="chosen",
    published_defaults="a DenseNet of 24 layers with growth 32 that is the whole network, with "
    "batch normalisation; here 2 layers of growth d/8 in each attention layer, no larger than "
    "softmax's layer, with layer normalisation",
    added="2026-11-30",
)
class PervasiveAttention(Attention):
    r"""Convolve the grid of all pairs (stream token t, context token s), then pool over s.

    .. math:: h^0_{ts} = W [x_t; z_s], \quad
              h^l = \left[h^{l-1}; K_l * \rho(U_l \rho(h^{l-1}))\right], \quad
              y_t = W_o \max_s h^L_{ts}

    :math:`\rho` is a layer normalisation and ReLU, U_l maps to 4 g channels and the convolution
    K_l to g more. Its kernel spans k context tokens around s, and t with the k // 2 stream tokens
    before it: the rest of the k x k kernel is masked in the paper and not held here. h^0 has d/2
    channels, g is d/8. The grid has N M cells, in time and in memory. Padding of the context is
    taken out of the grid before it is convolved. In the paper the grid is the network, between
    embeddings and prediction; here it is one attention layer. Batch normalisation would let
    examples read each other, so that layer normalisation stands in its place.
    """

    @dataclass(frozen=True)
    class Config:
        """layers: L. kernel: k, an odd number."""

        layers: int = 2
        kernel: int = 3

        def __post_init__(self) -> None:
            if self.layers < 1 or self.kernel < 1 or self.kernel % 2 == 0:
                raise ValueError("layers must be at least 1 and kernel an odd number")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        channels, growth = -(-self.dim // 2), -(-self.dim // 8)
        self.growth = growth
        self.stream = nn.Linear(self.dim, channels, bias=False)
        self.source = nn.Linear(self.dim, channels)
        self.blocks = nn.ModuleList(
            DenseBlock(channels + growth * layer, growth, self.config.kernel)
            for layer in range(self.config.layers)
        )
        self.output = nn.Linear(channels + growth * self.config.layers, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Convolve the whole grid, then pool. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        state = self.initial_state(x.shape[0], context, key_padding_mask=key_padding_mask)
        return self.prefill(x, state)[0]

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Rows:
        """Return the context without gaps, and rows of zeros. See `Attention.initial_state`."""
        source = read_decoding_context(self.pattern, context, key_padding_mask)
        assert source is not None
        kept = torch.ones(source.shape[:2], dtype=torch.bool, device=source.device)
        if key_padding_mask is not None:
            order = key_padding_mask.to(torch.uint8).argsort(dim=1, stable=True)
            kept = ~key_padding_mask.gather(1, order)
            source = source.gather(1, order[..., None].expand_as(source))
        batch, keys, _ = source.shape
        width, back = 4 * self.growth, self.config.kernel // 2
        nothing = source.new_zeros(batch, width, back, keys)
        return Rows(self.source(source), kept, (nothing,) * self.config.layers)

    def step(self, x: Float[Tensor, "B D"], state: Rows) -> tuple[Float[Tensor, "B D"], Rows]:
        """Append one row to the grid. See `Attention.step`."""
        y, state = self.prefill(x[:, None], state)
        return y[:, 0], state

    def prefill(
        self, x: Float[Tensor, "B N D"], state: Rows
    ) -> tuple[Float[Tensor, "B N D"], Rows]:
        """Append several rows to the grid. See `Attention.prefill`."""
        if not x.shape[1]:
            return x, state
        absent = ~state.kept[:, None, :, None]
        grid = self.stream(x)[:, :, None] + state.source[:, None]
        recent = []
        for block, before in zip(self.blocks, state.recent, strict=True):
            more, rows = block(grid, absent, before)
            grid = torch.cat((grid, more), dim=-1)
            recent.append(rows)
        best = grid.masked_fill(absent, torch.finfo(grid.dtype).min).amax(dim=2)
        best = best.masked_fill(absent.all(dim=2), 0.0)
        return self.output(best), Rows(state.source, state.kept, tuple(recent))


class DenseBlock(nn.Module):
    """One layer: from all channels so far, by way of 4 g, to g more."""

    def __init__(self, channels: int, growth: int, kernel: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(channels), nn.LayerNorm(4 * growth)
        self.inner = nn.Linear(channels, 4 * growth, bias=False)
        self.reach = kernel // 2
        self.convolution = nn.Conv2d(4 * growth, growth, (self.reach + 1, kernel), bias=False)

    def forward(
        self,
        grid: Float[Tensor, "B N M C"],
        absent: Bool[Tensor, "B 1 M 1"],
        before: Float[Tensor, "B F R M"],
    ) -> tuple[Float[Tensor, "B N M G"], Float[Tensor, "B F R M"]]:
        """Return the new channels, and the last rows that the convolution has read."""
        inner = self.between(self.inner(self.before(grid).relu())).relu()
        rows = inner.masked_fill(absent, 0.0).permute(0, 3, 1, 2)
        rows = torch.cat((before.to(rows.dtype), rows), dim=2)
        more = self.convolution(F.pad(rows, (self.reach, self.reach)))
        return more.permute(0, 2, 3, 1), rows[:, :, rows.shape[2] - self.reach :]
