"""Dual attention: half of the heads retrieve values, the others relations between tokens."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


class RelationalCache(NamedTuple):
    """The decode state: keys of heads and of relations, and values or symbols of heads."""

    k: Float[Tensor, "B G M E"]
    v: Float[Tensor, "B H M E"]
    key_padding_mask: Bool[Tensor, "B M"]


@register_variant(
    name="relational",
    family="softmax",
    patterns="ns cs nc cc",
    extended="nc",
    summary="softmax heads that retrieve values, and softmax heads that retrieve relations to "
    "the query",
    paper="Disentangling and Integrating Relational and Sensory Information in Transformer "
    "Architectures (Altabaa, Lafferty)",
    year=2024,
    arxiv="2405.16727",
    time="N M d",
    memory="N M",
    state="2 M E + M E max(1, H // 2) / H",
    published_defaults="as many relational as sensory heads, and as many relations; the same here",
    added="2026-11-21",
)
class DualAttention(DecodingAttention):
    r"""Retrieve values (sensory heads), or relations of a token to the query (relational heads).

    .. math:: o_t^h = \sum_{s \in V_t} \alpha_{ts}^h v_s^h \text{ or }
              \sum_{s \in V_t} \alpha_{ts}^h (W_r^h \rho_{ts} + \sigma_s^h), \quad
              \rho_{ts}^l = \frac{q_t^{(l)} \cdot k_s^{(l)}}{\sqrt{E}}, \quad
              \sigma_s = \Sigma^\top \mathrm{softmax}(T z_s)

    :math:`\alpha` are softmax weights of the head's own queries and keys, :math:`\rho_{ts}` is
    the vector of R relations with queries and keys of their own. :math:`\sigma` tags the sender:
    a symbol that it retrieves from a library :math:`\Sigma`, by templates T, whatever else it
    says. z is the stream (self) or the context (cross), V_t its unpadded positions, up to t in CS.
    The paper projects z before the templates and symbols after the library; those
    products of matrices are learned here as one each. With one head it is relational.
    """

    @dataclass(frozen=True)
    class Config:
        """symbols: in the library from which each token retrieves its tag."""

        symbols: int = 16

        def __post_init__(self) -> None:
            if self.symbols < 2:
                raise ValueError("symbols must be at least 2")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        relational, width = max(1, self.heads // 2), self.head_width
        keys = (self.heads + relational) * width
        self.parts = (self.heads, relational)
        self.query = nn.Linear(self.dim, keys, bias=False)
        self.key = nn.Linear(self.dim, keys, bias=False)
        self.value = _ValuesAndSymbols(
            self.dim, (self.heads - relational) * width, relational * width, self.config.symbols
        )
        self.relations = nn.Parameter(torch.randn(relational, relational, width) / relational**0.5)

    def split_heads(self, x: Float[Tensor, "B N F"]) -> Float[Tensor, "B H N E"]:
        """Cut into as many heads as there are: H of values, H + R of queries or keys."""
        return x.unflatten(-1, (x.shape[-1] // self.head_width, -1)).transpose(1, 2)

    def attend(
        self,
        q: Float[Tensor, "B G N E"],
        k: Float[Tensor, "B G M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        hidden = hidden_pairs(
            q, k, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
        scores, relations = ((q / self.head_width**0.5) @ k.mT).split(self.parts, dim=1)
        weights = masked_softmax(scores, hidden)
        sensory, relational = (weights @ v).split((self.heads - self.parts[1], self.parts[1]), 1)
        # Weighed first and projected then: N x M relations, not N x M vectors of a head's width.
        retrieved = torch.einsum("bhts,brts->bhtr", weights[:, -self.parts[1] :], relations)
        return torch.cat((sensory, relational + retrieved @ self.relations), dim=1)

    def absorb(
        self,
        state: RelationalCache | None,
        k: Float[Tensor, "B G M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RelationalCache:
        """Append to the cache."""
        if key_padding_mask is None:
            key_padding_mask = k.new_zeros(k.shape[0], k.shape[2], dtype=torch.bool)
        if state is None:
            return RelationalCache(k, v, key_padding_mask)
        return RelationalCache(
            torch.cat((state.k, k), dim=2),
            torch.cat((state.v, v), dim=2),
            torch.cat((state.key_padding_mask, key_padding_mask), dim=1),
        )

    def recall(
        self, q: Float[Tensor, "B G 1 E"], state: RelationalCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the whole cache."""
        return self.attend(q, state.k, state.v, key_padding_mask=state.key_padding_mask)


class _ValuesAndSymbols(nn.Module):
    """What the heads retrieve: values of sensory heads, then symbols of relational heads."""

    def __init__(self, dim: int, sensory: int, relational: int, symbols: int) -> None:
        super().__init__()
        self.sensory = nn.Linear(dim, sensory, bias=False) if sensory else None
        self.templates = nn.Linear(dim, symbols, bias=False)
        self.library = nn.Parameter(torch.randn(symbols, relational))

    def forward(self, z: Float[Tensor, "B M D"]) -> Float[Tensor, "B M D"]:
        tags = self.templates(z).softmax(dim=-1) @ self.library
        return tags if self.sensory is None else torch.cat((self.sensory(z), tags), dim=-1)
