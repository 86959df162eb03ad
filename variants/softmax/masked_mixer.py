"""Masked mixer: tokens mixed by one learned matrix over positions."""

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
    time="N^2 d",
    memory="N^2 + N d",
    state="M E",
    fixed_length=True,
    published_defaults="one matrix of 512 x 512 for all features, without projections; the same "
    "here, of the network's longest sequence",
)
class MaskedMixer(Attention):
    r"""Mix tokens with weights that belong to pairs of positions.

    .. math:: y_t = b_t + \sum_{s \in V_t} W_{ts} x_s

    W is L x L and b has L entries, with L the longest sequence; a shorter one uses the first rows
    and columns. V_t are the unpadded positions, in CS those up to t. There are no heads, no
    projections and no dependence on content: this is the convolution of width 1 along the tokens
    with which the paper replaces attention, started as such convolutions are. Work grows with N^2,
    and so do the parameters, with L^2. The paper is causal; without a mask it is the token mixing
    of MLP-Mixer with one matrix. Its other forms, with two matrices and a nonlinearity between
    them or with several heads, are left out.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        bound = self.max_length**-0.5
        self.weight = nn.Parameter(torch.empty(self.max_length, self.max_length))
        self.bias = nn.Parameter(torch.empty(self.max_length))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

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
        return TokenCache(self.weight.new_zeros(batch, 0, self.dim))

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
        weight = self.weight[:length, :length]
        weight = weight.tril() if self.pattern.causal else weight
        return weight[first:] @ x + self.bias[first:length, None]
