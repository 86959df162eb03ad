"""Complex channel attention: complex channels of a frequency attend to each other over time."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.errors import UnsupportedWidth
from cab.registry import register_variant


@register_variant(
    name="complex-channel",
    family="feature_map",
    patterns="ns",
    summary="complex channels mixed, row by row, by a softmax of products of their rows",
    paper="Channel-Attention Dense U-Net for Multichannel Speech Enhancement (Tolooshams, Giri, "
    "Song, Isik, Krishnaswamy)",
    year=2020,
    arxiv="2001.11542",
    time="N d (d + inner + sqrt(N))",
    memory="sqrt(N) d^2 + N d",
    sees="row_t == row_s",
    needs_grid=True,
    fixed_length=True,
    published_defaults="complex spectra of several microphones, 20 inner features, and the "
    "output beside the map before a dense block; here pairs of real channels, 8 inner features, "
    "and a linear layer for the dense block",
    added="2026-11-30",
)
class ComplexChannelAttention(Attention):
    r"""Mix complex channels with weights of each row, as a beamformer of each frequency does.

    .. math::
        y &= x + U_x x + U_o [\mathrm{Re}\,o; \mathrm{Im}\,o], \quad o_i = W_v z_i A_i, \\
        A_i &= \mathrm{softmax}(\mathrm{Re}\,P_i) + \mathrm{i}\,\mathrm{softmax}(\mathrm{Im}\,P_i),
               \quad P_i = (W_k z_i)^\top W_q z_i

    The first half of the channels are real parts and the second half imaginary parts of D / 2
    complex channels; :math:`z_i` (C, D / 2) is row i of the map, the spectrum of one frequency
    over C frames. The real matrices W act on frames, so that their sizes are tied to the number of
    columns. Each column of A sums to 1 + i. The form is that of a public reproduction; the paper
    hands x and o to a dense block, for which U stands here, with an inner shortcut. Padding is
    zeroed and counts as frames of value 0.
    """

    @dataclass(frozen=True)
    class Config:
        """inner: features of queries and keys."""

        inner: int = 8

        def __post_init__(self) -> None:
            if self.inner < 1:
                raise ValueError("inner must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        assert self.grid is not None
        if self.dim % 2:
            raise UnsupportedWidth(
                f"{self.dim} channels are no pairs of real and imaginary parts."
            )
        columns, inner = self.grid[1], self.config.inner
        self.query = nn.Linear(columns, inner, bias=False)
        self.key = nn.Linear(columns, inner, bias=False)
        self.value = nn.Linear(columns, columns, bias=False)
        self.join = nn.Linear(2 * self.dim, self.dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix the channels. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        assert self.grid is not None
        rows = x.unflatten(1, self.grid).mT  # (B, R, D, C)
        q, k, v = (part(rows).chunk(2, dim=2) for part in (self.query, self.key, self.value))
        real = (k[0] @ q[0].mT - k[1] @ q[1].mT).softmax(dim=2)
        imaginary = (k[0] @ q[1].mT + k[1] @ q[0].mT).softmax(dim=2)
        mixed = torch.cat(
            (
                real.mT @ v[0] - imaginary.mT @ v[1],
                real.mT @ v[1] + imaginary.mT @ v[0],
            ),
            dim=2,
        )
        return x + self.join(torch.cat((x, mixed.mT.flatten(1, 2)), dim=2))
