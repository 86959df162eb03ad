"""Tensor product attention: queries, keys and values as sums of products of short factors."""

from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention


@register_variant(
    name="tpa",
    family="softmax",
    patterns="ns cs nc cc",
    extended="ns nc cc",
    summary="softmax attention whose queries, keys and values are sums of products of a factor "
    "over heads and a factor over channels",
    paper="Tensor Product Attention Is All You Need (Zhang, Liu, Yuan, Qin, Yuan, Gu, Yao)",
    year=2025,
    arxiv="2501.06425",
    time="N M d",
    memory="N M",
    state="2 M min(rank, H) (H + E) / H",
    published_defaults="ranks 6 for queries and 2 for keys and values, as here, but at most as "
    "many as there are heads; more heads than a Transformer of the same size, here as many; "
    "rotary positions on the factors over channels, here whatever positions the backbone gives",
    added="2026-11-30",
)
class TensorProductAttention(CachedAttention):
    r"""Make the heads' queries, keys and values of a token from a few outer products.

    .. math:: q_t^h = \frac{1}{R_q} \sum_{r=1}^{R_q} a_{r h}^q(x_t) \, b_r^q(x_t), \quad
              k_s^h = \frac{1}{R} \sum_{r=1}^R a_{r h}^k(z_s) \, b_r^k(z_s), \quad
              v_s^h = \frac{1}{R} \sum_{r=1}^R a_{r h}^v(z_s) \, b_r^v(z_s)

    .. math:: o_t^h = \sum_{s \in V_t} \mathrm{softmax}_s(q_t^h \cdot k_s^h / \sqrt{E}) v_s^h

    a, numbers for each head, and b, vectors of E channels, are linear in the token, so that
    queries, keys and values are quadratic. z is the stream (self) or the context (cross); V_t are
    its unpadded positions, up to t in CS. Decoding keeps the factors of keys and values, R (H + E)
    numbers each. A sum over more terms than heads is no richer, so that ranks end there. The paper
    is causal self attention.
    """

    @dataclass(frozen=True)
    class Config:
        """query_rank: R_q above. rank: R, of keys and values."""

        query_rank: int = 6
        rank: int = 2

        def __post_init__(self) -> None:
            if min(self.query_rank, self.rank) < 1:
                raise ValueError("query_rank and rank must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.query_rank, self.rank = (
            min(rank, self.heads) for rank in (self.config.query_rank, self.config.rank)
        )
        self.query = self._factors(self.query_rank)
        self.key, self.value = self._factors(self.rank), self._factors(self.rank)

    def _factors(self, rank: int) -> nn.Linear:
        """Return a map of tokens to the factors a, then b, each started by Xavier's rule."""
        factors = nn.Linear(self.dim, rank * (self.heads + self.head_width), bias=False)
        for part in factors.weight.split((rank * self.heads, rank * self.head_width)):
            nn.init.xavier_uniform_(part)
        return factors

    def split_heads(self, x: Float[Tensor, "B N F"]) -> Float[Tensor, "B 1 N F"]:
        """Leave the factors together: they stand in the place of one head."""
        return x[:, None]

    def attend(
        self,
        q: Float[Tensor, "B 1 N _"],
        k: Float[Tensor, "B 1 M F"],
        v: Float[Tensor, "B 1 M F"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        return softmax_attention(
            self._multiply(q, self.query_rank),
            self._multiply(k, self.rank),
            self._multiply(v, self.rank),
            causal=self.pattern == Pattern.CS,
            key_padding_mask=key_padding_mask,
        )

    def recall(
        self, q: Float[Tensor, "B 1 N F"], state: KeyValueCache
    ) -> Float[Tensor, "B H N E"]:
        """Attend to the whole cache of factors."""
        return self.attend(q, state.k, state.v, key_padding_mask=state.key_padding_mask)

    def _multiply(self, factors: Float[Tensor, "B 1 N F"], rank: int) -> Float[Tensor, "B H N E"]:
        """Sum the products of the factors over the ranks."""
        a, b = factors[:, 0].split((rank * self.heads, rank * self.head_width), dim=-1)
        a, b = a.unflatten(-1, (rank, self.heads)), b.unflatten(-1, (rank, self.head_width))
        return (a.mT @ b).transpose(1, 2) / rank
