"""Softmax attention in chunks, recomputed in the backward pass: the same function as `softmax`."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import CachedAttention
from cab.kernels.softmax.chunked import KEYS, QUERIES, chunked_softmax
from cab.registry import register_variant


@register_variant(
    name="chunked",
    family="softmax",
    patterns="ns cs nc cc",
    summary="softmax attention over chunks of queries and keys, recomputed in the backward pass",
    paper="Self-attention Does Not Need O(n^2) Memory (Rabe, Staats)",
    year=2021,
    arxiv="2112.05682",
    time="N^2 d",
    memory="4 N d + query_chunk N",
    state="2 M E",
    exact=True,
    role="reimplementation",
    published_defaults="query chunk 1,024, key chunk 4,096; here 128 and 8,192, faster on a CPU",
    added="2026-11-21",
)
class ChunkedAttention(CachedAttention):
    r"""The formula of `softmax`, with a running sum over chunks of keys.

    For one chunk of queries, each chunk C of keys joins its own softmax's answer to o:

    .. math:: o_C = \sum_{s \in C} e^{x_s - l_C} v_s, \quad l_C = \log \sum_{s \in C} e^{x_s}

    .. math:: l' = \log(e^l + e^{l_C}), \quad o' = o\, e^{l - l'} + o_C\, e^{l_C - l'}

    Nothing is saved for the backward pass but the inputs, o and l. The paper combines the chunks
    at the end; here they are combined as they come.
    """

    @dataclass(frozen=True)
    class Config:
        """Chunk lengths in tokens."""

        query_chunk: int = QUERIES
        key_chunk: int = KEYS

        def __post_init__(self) -> None:
            if min(self.query_chunk, self.key_chunk) < 1:
                raise ValueError("query_chunk and key_chunk must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o. In CS the queries are the last N of the M positions."""
        return chunked_softmax(
            *(q, k, v),
            causal=self.pattern.causal and not self.pattern.cross,
            offset=k.shape[2] - q.shape[2],
            key_padding_mask=key_padding_mask,
            query_chunk=self.config.query_chunk,
            key_chunk=self.config.key_chunk,
        )
