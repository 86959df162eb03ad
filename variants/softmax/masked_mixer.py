"""Masked mixer: tokens mixed by one learned matrix over positions."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_decoding_context, read_source
from cab.registry import register_variant


class TokenCache(NamedTuple):
    """The decode state: all tokens so far."""

    x: Float[Tensor, "B M D"]


@register_variant(
    name="masked-mixer",
    family="softmax",
    patterns="ns cs",
    extended="ns",
    summary="tokens mixed by one learned matrix over positions, lower triangular when causal",
    paper="Masked Mixers for Language Generation and Retrieval (Badger)",
    year=2024,
    arxiv="2409.01482",
    padding="position",
    time="N^2 (d + rank)",
    memory="N^2 + N d",
    state="M E",
    fixed_length=True,
    published_defaults="one matrix of 512 x 512 for all features, without projections; here one "
    "of the network's longest sequence, of rank 32 where that is longer than 64",
    added="2026-11-30",
)
class MaskedMixer(Attention):
    r"""Mix tokens with weights that belong to pairs of positions.

    .. math:: y_t = b_t + \sum_{s \in V_t} W_{ts} x_s

    W is L x L and b has L entries, with L the longest sequence; a shorter one uses the first rows
    and columns. V_t are the unpadded positions, in CS those up to t. There are no heads, no
    projections and no dependence on content: this is the convolution of width 1 along the tokens
    with which the paper replaces attention, started as such convolutions are. Work grows with N^2.
    The paper's W has L^2 parameters; here that is so up to L = 2 rank, and longer ones are the
    product of an L x rank and a rank x L matrix, masked afterwards, to stay near the size of
    softmax's layer. The paper is causal; without a mask it is the token mixing of MLP-Mixer with
    one matrix. Its other forms, with two matrices and a nonlinearity between them or with several
    heads, are left out.
    """

    @dataclass(frozen=True)
    class Config:
        """rank: of W, where the longest sequence is longer than twice of it."""

        rank: int = 32

        def __post_init__(self) -> None:
            if self.rank < 1:
                raise ValueError("rank must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        length, rank = self.max_length, self.config.rank
        bound = length**-0.5
        self.bias = nn.Parameter(torch.empty(length).uniform_(-bound, bound))
        if length <= 2 * rank:
            weight = torch.empty(length, length).uniform_(-bound, bound)
            self.factors = nn.ParameterList([weight])
        else:  # products of the same variance, 1 / (3 L)
            deviation = (3 * length * rank) ** -0.25
            shapes = (length, rank), (rank, length)
            self.factors = nn.ParameterList(deviation * torch.randn(shape) for shape in shapes)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix the tokens. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        return self._mix(x, 0)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> TokenCache:
        """Return the empty cache. See `Attention.initial_state`."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        return TokenCache(self.bias.new_zeros(batch, 0, self.dim))

    def step(
        self, x: Float[Tensor, "B D"], state: TokenCache
    ) -> tuple[Float[Tensor, "B D"], TokenCache]:
        """Append the token and mix by the next row. See `Attention.step`."""
        seen = torch.cat((state.x, x[:, None]), dim=1)
        return self._mix(seen, seen.shape[1] - 1)[:, 0], TokenCache(seen)

    def _mix(self, x: Float[Tensor, "B M D"], first: int) -> Float[Tensor, "B N D"]:
        """Return y of the positions from `first` on."""
        length = x.shape[1]
        if length > self.max_length:
            raise ValueError(
                f"masked-mixer was built for {self.max_length} positions, but the sequence has "
                f"{length}; build it with a larger max_length."
            )
        left, right = self.factors[0], self.factors[-1][:, :length]
        rows = right[first:length] if len(self.factors) == 1 else left[first:length] @ right
        rows = rows.tril(first) if self.pattern.causal else rows
        return rows @ x + self.bias[first:length, None]
