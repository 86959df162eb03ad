"""Local attentional Mamba: selective scans of an image, then attention within its windows."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_source, zero_padding
from cab.kernels.linear.scan_routes import snake
from cab.kernels.linear.selective_scan import selective_scan
from cab.kernels.linear.starting_gates import softplus_start
from cab.kernels.linear.time_constants import spread
from cab.registry import register_variant
from cab.variants.hybrid._masked import masked_softmax

ROUTES = 4
"""Along the rows and along the columns, each both ways."""


@register_variant(
    name="local-mamba",
    family="hybrid",
    patterns="ns",
    summary="selective scans of an image along four routes, then softmax within windows",
    paper="LaMamba-Diff: Linear-Time High-Fidelity Diffusion Models Based on Local Attention and "
    "Mamba (Fu, Chen, Yu)",
    year=2024,
    arxiv="2408.02615",
    padding="position",
    time="N d (d + window^2 + state_width)",
    memory="N (d state_width + window^2)",
    needs_grid=True,
    published_defaults="scans twice as wide as the model, states of 16, windows of 8 x 8 shifted "
    "in every other layer; here scans a quarter as wide and states of 4, which keeps the layer "
    "near softmax's size, windows of 4 x 4, for images of 8 x 8, shifted in every other layer; "
    "steps drawn from [0.001, 0.1]; here time constants of 1/64 of the training length (at least "
    "2 tokens) to twice that length, evenly spread in their logarithm over the channels",
    added="2026-11-30",
)
class LocalMamba(MultiHeadAttention):
    r"""Scan globally, add, normalise, and attend locally.

    .. math:: (u, g) = W_{in} x, \quad \bar u = \mathrm{SiLU}(w * u), \quad
              z^r = \mathrm{SSM}_r(\bar u), \quad
              m = W_m \big(\mathrm{LN}(\textstyle\sum_r z^r) \odot \mathrm{SiLU}(g)\big)

    .. math:: y = m + W_o\, \mathrm{W\text{-}MSA}(\mathrm{LN}(x + m))

    w is a depthwise 3 x 3 convolution, r one of four routes: the rows or the columns in turn,
    every second one backwards, both ways. Each route has its own B, C, steps, A and D, as in
    `multi-head-scan`. W-MSA is softmax over the tokens of the query's window of P x P; in every
    other layer windows begin P / 2 earlier on both axes, and those at the border are smaller (the
    paper shifts the picture cyclically and hides what does not belong together, which is the
    same). The paper adds biases by relative position, left to the backbone, and conditions both
    parts on a diffusion step. In it x is the stream, which a layer sees normalised here.
    """

    @dataclass(frozen=True)
    class Config:
        """window: P. state_width: elements per channel. ratio: width of the scans over d."""

        window: int = 4
        state_width: int = 4
        ratio: float = 0.25

        def __post_init__(self) -> None:
            if self.window < 1 or self.state_width < 1 or self.ratio <= 0:
                raise ValueError("window and state_width must be at least 1, ratio positive")

    config: Config
    order: Tensor
    back: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        assert self.grid is not None
        self.inner, state = math.ceil(self.config.ratio * self.dim), self.config.state_width
        self.rank = math.ceil(self.inner / 16)
        self.input = nn.Linear(self.dim, 2 * self.inner, bias=False)
        self.convolution = nn.Conv2d(self.inner, self.inner, 3, padding=1, groups=self.inner)
        bound = self.inner**-0.5
        self.read = nn.Parameter(
            torch.empty(ROUTES, self.inner, self.rank + 2 * state).uniform_(-bound, bound)
        )
        bound = self.rank**-0.5
        self.widen = nn.Parameter(
            torch.empty(ROUTES, self.rank, self.inner).uniform_(-bound, bound)
        )
        start = 1 / spread(self.inner, self.train_length)
        start = softplus_start(start)
        self.step_bias = nn.Parameter(start.float().repeat(ROUTES, 1, 1))
        rates = torch.arange(1, state + 1, dtype=torch.float32).log()
        self.log_rate = nn.Parameter(rates.repeat(ROUTES, self.inner, 1))
        self.skip = nn.Parameter(torch.ones(ROUTES, 1, self.inner))
        self.scan_norm, self.norm = nn.LayerNorm(self.inner), nn.LayerNorm(self.dim)
        self.scan_output = nn.Linear(self.inner, self.dim, bias=False)
        order = torch.tensor([r for one in snake(*self.grid) for r in (one, one[::-1])])
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(dim=1), persistent=False)

    def no_weight_decay(self) -> set[str]:
        """Return the decay rates and what passes the state by, as in Mamba."""
        return {"log_rate", "skip"}

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Scan, then attend within windows. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        scanned = self._scan(x, key_padding_mask)
        near = zero_padding(self.norm(x + scanned), key_padding_mask)
        return scanned + super().forward(near, key_padding_mask=key_padding_mask)

    def _scan(
        self, x: Float[Tensor, "B N D"], key_padding_mask: Bool[Tensor, "B N"] | None
    ) -> Float[Tensor, "B N D"]:
        u, gate = self.input(x).chunk(2, dim=-1)
        u = F.silu(self.convolution(u.mT.unflatten(2, self.grid)).flatten(2).mT)
        u, state = u[:, self.order], self.config.state_width  # (B, R, N, I)
        rank, b, c = (u @ self.read).split((self.rank, state, state), dim=-1)
        delta = F.softplus(rank @ self.widen + self.step_bias)
        if key_padding_mask is not None:
            delta = delta.masked_fill(key_padding_mask[:, self.order, None], 0.0)
        z = selective_scan(u, delta, self.log_rate, b, c) + self.skip * u
        z = z.gather(2, self.back[None, :, :, None].expand_as(z)).sum(dim=1)
        return self.scan_output(self.scan_norm(z) * F.silu(gate))

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return softmax within windows; a query that sees only padding gets 0."""
        absent = torch.zeros_like(q[:, 0, :, 0], dtype=torch.bool)
        if key_padding_mask is not None:
            absent = key_padding_mask
        queries, keys, values = (self._windows(x) for x in (q / self.head_width**0.5, k, v))
        present = self._windows((~absent)[:, None, :, None].to(q.dtype))  # 0 beyond the picture
        mixed = masked_softmax(queries @ keys.mT, (present == 0).mT) @ values
        return self._unwindowed(mixed)

    def _sides(self) -> list[tuple[int, int, int]]:
        """For each axis: the window, what stands before the picture, and what behind it."""
        assert self.grid is not None
        sides = []
        for side in self.grid:
            window = min(self.config.window, side)
            # A window as large as the picture is not shifted, as in the authors' code.
            before = -(-window // 2) if self.layer % 2 and window < side else 0
            sides.append((window, before, -(side + before) % window))
        return sides

    def _windows(self, x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H W P E"]:
        """Cut the picture into windows; places outside of it hold 0."""
        (high, above, below), (wide, left, right) = self._sides()
        picture = F.pad(x.unflatten(2, self.grid), (0, 0, left, right, above, below))
        tiles = picture.unflatten(3, (-1, wide)).unflatten(2, (-1, high))
        return tiles.transpose(3, 4).flatten(4, 5).flatten(2, 3)

    def _unwindowed(self, x: Float[Tensor, "B H W P E"]) -> Float[Tensor, "B H N E"]:
        """Undo `_windows`."""
        assert self.grid is not None
        (high, above, _), (wide, left, right) = self._sides()
        across = (self.grid[1] + left + right) // wide
        tiles = x.unflatten(2, (-1, across)).unflatten(4, (high, wide)).transpose(3, 4)
        picture = tiles.flatten(4, 5).flatten(2, 3)
        rows, columns = self.grid
        return picture[:, :, above : above + rows, left : left + columns].flatten(2, 3)
