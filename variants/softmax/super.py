"""Super attention: unprojected values, mixed along the sequence by a learned matrix."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, read_decoding_context
from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention


class AlignedCache(NamedTuple):
    """The decode state: tokens, which are the keys, and the values mixed from them."""

    tokens: Float[Tensor, "B H M E"]
    values: Float[Tensor, "B H M E"]


@register_variant(
    name="super",
    family="softmax",
    patterns="ns cs",
    extended="cs",
    summary="softmax attention with unprojected keys, and values mixed by a learned matrix",
    paper="You Need to Pay Better Attention: Rethinking the Mathematics of Attention Mechanism "
    "(Hosseini, Hosseini)",
    year=2024,
    arxiv="2403.01643",
    padding="position",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
    fixed_length=True,
    published_defaults="an unstructured alignment matrix of the context length; here the "
    "identity matrix plus a matrix of rank 16, since a full one has N^2 parameters, more than the "
    "rest of the layer where sequences are longer than 1.4 d",
    added="2026-11-21",
)
class SuperAttention(DecodingAttention):
    r"""Mix the values of head h along the sequence before attention.

    .. math:: o_t^h = \sum_{s \in V_t} \mathrm{softmax}_s(q_t^h \cdot x_s^h / \sqrt{E})
              \sum_{u \in V_s} A_{su} x_u^h

    :math:`x^h` is the h-th slice of the stream, E wide: neither keys nor values are projected. V_t
    are the unpadded positions, in CS those up to t, so that A is lower triangular there, a form
    that the paper does not have. A is shared by the heads; a sequence shorter than `max_length`
    uses its first rows and columns. In the paper A has an entry for each pair of positions, more
    than the missing projections save where sequences are longer than 1.4 times the width; by
    default A is the identity matrix plus a product of two narrow matrices here, of 2 r parameters
    for each position up to `max_length`.
    """

    @dataclass(frozen=True)
    class Config:
        """rank: of the matrix that A adds to the identity matrix; 0 for the paper's A."""

        rank: int = 16

        def __post_init__(self) -> None:
            if self.rank < 0:
                raise ValueError("rank must be at least 0")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.key, self.value = nn.Identity(), nn.Identity()
        length, rank = self.max_length, self.config.rank
        # Entries of A have variance 1 / length, as those of a linear layer along the sequence.
        if rank:
            self.left = nn.Parameter(torch.randn(length, rank) * (rank * length) ** -0.25)
            self.right = nn.Parameter(torch.randn(length, rank) * (rank * length) ** -0.25)
        else:
            self.alignment = nn.Parameter(torch.randn(length, length) * length**-0.5)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. Padded tokens come as zeros."""
        v = self._align(0, v)
        return softmax_attention(
            q, k, v, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> AlignedCache:
        """Return the empty cache. See `Attention.initial_state`."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        empty = self.query.weight.new_zeros(batch, self.heads, 0, self.head_width)
        return AlignedCache(empty, empty)

    def absorb(
        self,
        state: AlignedCache,
        k: Float[Tensor, "B H 1 E"],
        v: Float[Tensor, "B H 1 E"],
        key_padding_mask: Bool[Tensor, "B 1"] | None = None,
    ) -> AlignedCache:
        """Append the token, which is k and v, and the value that A mixes from all up to it."""
        tokens = torch.cat((state.tokens, k), dim=2)
        value = self._align(state.tokens.shape[2], tokens)
        return AlignedCache(tokens, torch.cat((state.values, value), dim=2))

    def recall(self, q: Float[Tensor, "B H 1 E"], state: AlignedCache) -> Float[Tensor, "B H 1 E"]:
        """Attend to the whole cache."""
        return softmax_attention(q, state.tokens, state.values, causal=False)

    def _align(self, first: int, x: Float[Tensor, "B H M E"]) -> Float[Tensor, "B H N E"]:
        """Return the mixed values of the positions from `first` on, given all up to the last."""
        length = x.shape[2]
        if self.config.rank:
            matrix = self.left[:length] @ self.right[:length].T
            matrix = matrix + torch.eye(length, dtype=matrix.dtype, device=x.device)
        else:
            matrix = self.alignment[:length, :length]
        if self.pattern == Pattern.CS:
            matrix = matrix.tril()
        return matrix[first:] @ x
