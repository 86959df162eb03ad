"""Shared parts of the backbones: the pre-norm layer, the short convolution, positions.

Dimensions: B batch, N length, M context length, D model width.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Attention, zero_padding
from cab.backbones.slots import Width


class ShortConvolution(nn.Module):
    """A residual depthwise convolution over a few neighbours, before attention's projections.

    With it, recall is learned minutes earlier. It is the same for every variant, as in the later
    protocol of zoology (Arora et al., 2024, arXiv 2402.18668). It is causal or symmetric.
    """

    def __init__(self, dim: int, kernel: int, causal: bool) -> None:
        super().__init__()
        self.kernel, self.causal = kernel, causal
        self.convolution = nn.Conv1d(dim, dim, kernel, groups=dim)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Return x plus its convolution."""
        reach = self.kernel - 1
        left = reach if self.causal else reach // 2
        padded = F.pad(x.mT, (left, reach - left))
        return x + self.convolution(padded).mT


class Layer(nn.Module):
    """A pre-norm transformer layer: self attention, cross attention, feed-forward, each optional.

    Every part reads the normalised tokens and adds its output to them.
    """

    def __init__(
        self,
        width: Width,
        self_attention: Attention | None = None,
        cross_attention: Attention | None = None,
    ) -> None:
        super().__init__()
        dim = width.dim
        self.self_attention, self.cross_attention = self_attention, cross_attention
        self.convolution: ShortConvolution | None = None
        if self_attention is not None:
            self.self_norm = nn.LayerNorm(dim)
            if width.short_convolution:
                self.convolution = ShortConvolution(
                    dim, width.short_convolution, self_attention.pattern.causal
                )
        if cross_attention is not None:
            self.cross_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, width.expansion * dim),
            nn.GELU(),
            nn.Linear(width.expansion * dim, dim),
        )
        self.dropout = nn.Dropout(width.dropout)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        padding: Bool[Tensor, "B N"] | None = None,
        context_padding: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Return the output of the layer; the masks are True for padding."""
        if self.self_attention is not None:
            normed = zero_padding(self.self_norm(x), padding)
            if self.convolution is not None:
                normed = self.convolution(normed)
            x = x + self.dropout(self.self_attention(normed, key_padding_mask=padding))
        if self.cross_attention is not None:
            read = self.cross_attention(
                self.cross_norm(x), context, key_padding_mask=context_padding
            )
            x = x + self.dropout(read)
        return x + self.dropout(self.feed_forward(x))


class LearnedPositions(nn.Module):
    """Adds one learned vector per position, of standard deviation `spread` at the start.

    With a `window`, so many tokens in a row have the same position.
    """

    def __init__(self, length: int, dim: int, spread: float = 0.02, window: int = 1) -> None:
        super().__init__()
        self.window = window
        self.table = nn.Parameter(torch.randn(length, dim) * spread)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Return x plus the position vectors of its N tokens."""
        table: Tensor = self.table
        if self.window > 1:
            table = table.repeat_interleave(self.window, dim=0)
        return x + table[: x.shape[1]]

    def at(self, x: Float[Tensor, "B D"], place: int) -> Float[Tensor, "B D"]:
        """Return one token of each row, at a place, plus that place's vector."""
        return x + self.table[place // self.window]


class SinusoidalPositions(nn.Module):
    r"""Adds sines and cosines of a position, for sequences of any length; nothing is learned.

    .. math:: p_{t, i} = a \sin(t \omega_i), \quad p_{t, D/2 + i} = a \cos(t \omega_i), \quad
              \omega_i = 10000^{-2 i / D}

    t counts from 0 and i from 0 to below D / 2; an odd D leaves the last cosine out. They are
    those of Vaswani et al. (2017, arXiv 1706.03762), whose sines and cosines alternate.
    """

    def __init__(self, dim: int, amplitude: float = 1.0) -> None:
        super().__init__()
        self.dim, self.amplitude = dim, amplitude

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Return x plus the first N position vectors."""
        return x + self._vectors(torch.arange(x.shape[1], device=x.device)).to(x.dtype)

    def at(self, x: Float[Tensor, "B D"], place: int) -> Float[Tensor, "B D"]:
        """Return one token of each row, at a place, plus that place's vector."""
        return x + self._vectors(torch.tensor([place], device=x.device)).to(x.dtype)

    def _vectors(self, places: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return self.amplitude * torch.cat(_sines(places, self.dim), dim=1)[:, : self.dim]


class RotaryPositions(nn.Module):
    """Turns queries and keys by angles of their positions, so that their products see distances.

    The channels c and c + E / 2 of a head of width E are turned by the angle whose sine and cosine
    `SinusoidalPositions` adds; of an odd width the last channel stays (Su et al., 2021,
    "RoFormer", arXiv 2104.09864).
    """

    def forward(
        self, q: Float[Tensor, "B H N E"], k: Float[Tensor, "B G M E"]
    ) -> tuple[Float[Tensor, "B H N E"], Float[Tensor, "B G M E"]]:
        """Return both turned; the queries are the last N of the M positions."""
        places = torch.arange(k.shape[2], device=k.device)
        return _turned(q, places[k.shape[2] - q.shape[2] :]), _turned(k, places)


def _turned(x: Float[Tensor, "B H N E"], places: Int[Tensor, " N"]) -> Float[Tensor, "B H N E"]:
    half = x.shape[-1] // 2
    sine, cosine = (part[:, :half] for part in _sines(places, x.shape[-1]))
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    turned = (first * cosine - second * sine, first * sine + second * cosine, rest)
    return torch.cat([part.to(x.dtype) for part in turned], dim=-1)


def _sines(
    places: Int[Tensor, " N"], dim: int
) -> tuple[Float[Tensor, "N half"], Float[Tensor, "N half"]]:
    # Angles in float64: in float32 those of neighbours far out would run together.
    place = places.to(torch.float64)
    rates = 10_000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=place.device) / dim)
    angles = place[:, None] * rates
    return angles.sin(), angles.cos()


class GridPositions(nn.Module):
    """Adds one learned vector per row and one per column of an image in raster order.

    Relative positions are learned several times faster than with a vector per position. The
    vectors start with the standard deviation `spread`.
    """

    def __init__(self, grid: tuple[int, int], dim: int, spread: float = 0.02) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(grid[0], 1, dim) * spread)
        self.columns = nn.Parameter(torch.randn(1, grid[1], dim) * spread)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Return x plus the vectors of each token's row and column."""
        return x + (self.rows + self.columns).flatten(0, 1)
