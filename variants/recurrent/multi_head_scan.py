"""Multi-head scan: each head scans an image along its own routes with a selective state space."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cab.attention import Attention, Geometry, read_source
from cab.kernels.linear.scan_routes import diagonals, raster, snake, spirals
from cab.kernels.linear.selective_scan import selective_scan
from cab.kernels.linear.starting_gates import softplus_start
from cab.kernels.linear.time_constants import spread
from cab.registry import register_variant

ROUTES = 4
"""Two routes of a pattern, each walked both ways."""


@register_variant(
    name="multi-head-scan",
    family="recurrent",
    patterns="ns",
    summary="selective scans of an image, each head along four routes of its own, fused by their "
    "variation",
    paper="MHS-VM: Multi-Head Scanning in Parallel Subspaces for Vision Mamba (Ji)",
    year=2024,
    arxiv="2406.05992",
    padding="distance",
    time="N d (d + state_width)",
    memory="N d state_width",
    needs_grid=True,
    published_defaults="3 or 4 heads, one per pattern of routes, states of 16, a threshold of 0; "
    "here as many heads as the layer has, which take the patterns in turn, and states of 8; steps "
    "drawn from [0.001, 0.1]; here time constants of 1/64 of the training length (at least 2 "
    "tokens) to twice that length, evenly spread in their logarithm over a head's channels",
    added="2026-11-30",
)
class MultiHeadScan(Attention):
    r"""Scan each subspace along four routes r, and keep what they disagree on.

    .. math:: h_t = e^{\Delta_t A} h_{t-1} + \Delta_t u_t B_t, \quad z_t = C_t \cdot h_t + D u_t,
              \quad \Delta_t = \mathrm{softplus}(W_2 W_1 u_t + b)

    .. math:: y = W_o \mathrm{LN}([f^1, \dots, f^H]), \quad
              f = \mathrm{ReLU}\left(\frac{\mathrm{std}_r z^r}
              {\mathrm{mean}_r z^r - \min_r z^r + 10^{-5}} - \theta\right) \sum_r z^r

    elementwise (scan route attention, as the authors' code has it). u is the projection to H
    subspaces of SiLU of a 3 x 3 depthwise convolution. Heads take four patterns in turn: rows and
    columns as a snake walks them, diagonals, spirals, rows and columns as one reads them; each is
    two routes, walked both ways. Every route of every head has its own B, C, steps, A and D, the
    elements of A starting at -1, ..., -S. 1e-12 is added to the variance under the root of std,
    which would have no derivative where routes agree. A padded token changes no state. The scans
    are computed in chunks, so that work is linear in N.
    """

    @dataclass(frozen=True)
    class Config:
        """state_width: S, elements per channel. threshold: theta."""

        state_width: int = 8
        threshold: float = 0.0

        def __post_init__(self) -> None:
            if self.state_width < 1:
                raise ValueError("state_width must be at least 1")

    config: Config
    order: Tensor
    back: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        assert self.grid is not None
        width, state = self.dim // self.heads, self.config.state_width
        self.rank, groups = math.ceil(width / 16), self.heads * ROUTES
        self.convolution = nn.Conv2d(self.dim, self.dim, 3, padding=1, groups=self.dim)
        self.subspaces = nn.Linear(self.dim, self.dim, bias=False)
        bound = width**-0.5
        self.read = nn.Parameter(
            torch.empty(groups, width, self.rank + 2 * state).uniform_(-bound, bound)
        )
        bound = self.rank**-0.5
        self.widen = nn.Parameter(torch.empty(groups, self.rank, width).uniform_(-bound, bound))
        start = 1 / spread(width, self.train_length)
        start = softplus_start(start)
        self.step_bias = nn.Parameter(start.float().repeat(groups, 1, 1))
        rates = torch.arange(1, state + 1, dtype=torch.float32).log()
        self.log_rate = nn.Parameter(rates.repeat(groups, width, 1))
        self.skip = nn.Parameter(torch.ones(groups, 1, width))
        self.norm = nn.LayerNorm(self.dim)
        self.output = nn.Linear(self.dim, self.dim, bias=False)
        patterns = [make(*self.grid) for make in (snake, diagonals, spirals, raster)]
        routes = [
            route
            for head in range(self.heads)
            for one in patterns[head % len(patterns)]
            for route in (one, one[::-1])
        ]
        order = torch.tensor(routes)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(dim=1), persistent=False)

    def no_weight_decay(self) -> set[str]:
        """Return the decay rates and what passes the state by, as in the authors' code."""
        return {"log_rate", "skip"}

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Convolve, scan along all routes, fuse, project. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        near = self.convolution(x.mT.unflatten(2, self.grid)).flatten(2).mT
        u = self.subspaces(F.silu(near)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        u = _along(u.repeat_interleave(ROUTES, dim=1), self.order)  # (B, G, N, P)
        state = self.config.state_width
        rank, b, c = (u @ self.read).split((self.rank, state, state), dim=-1)
        delta = F.softplus(rank @ self.widen + self.step_bias)
        if key_padding_mask is not None:
            hidden = key_padding_mask[:, self.order]  # (B, G, N)
            delta = delta.masked_fill(hidden[..., None], 0.0)
        z = self._scan(u, delta, b, c) + self.skip * u
        z = _along(z, self.back).unflatten(1, (self.heads, ROUTES))
        return self.output(self.norm(self._fuse(z).transpose(1, 2).flatten(-2)))

    def _scan(
        self,
        u: Float[Tensor, "B G N P"],
        delta: Float[Tensor, "B G N P"],
        b: Float[Tensor, "B G N S"],
        c: Float[Tensor, "B G N S"],
    ) -> Float[Tensor, "B G N P"]:
        # One head after the other, and again in the backward pass, so that only the states of one
        # head are in memory at a time.
        heads = zip(
            *(x.split(ROUTES, dim=1) for x in (u, delta)),
            self.log_rate.split(ROUTES),
            *(x.split(ROUTES, dim=1) for x in (b, c)),
            strict=True,
        )
        scanned = [
            checkpoint(selective_scan, *head, use_reentrant=False, preserve_rng_state=False)
            for head in heads
        ]
        return torch.cat(scanned, dim=1)

    def _fuse(self, z: Float[Tensor, "B H R N P"]) -> Float[Tensor, "B H N P"]:
        # Equal routes have a deviation of 0, where a root has no derivative.
        deviation = (z.var(dim=2) + 1e-12).sqrt()
        variation = deviation / (z.mean(dim=2) - z.amin(dim=2) + 1e-5)
        return F.relu(variation - self.config.threshold) * z.sum(dim=2)


def _along(x: Float[Tensor, "B G N P"], order: Tensor) -> Float[Tensor, "B G N P"]:
    """Put the tokens of each group into an order (G, N)."""
    return x.gather(2, order[None, :, :, None].expand_as(x))
