"""Composite attention: the stream reads the context and itself under one softmax."""

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import State, read_source
from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.variants.softmax._masked import softmax_attention


@register_variant(
    name="parallel-cross",
    family="softmax",
    patterns="cc",
    summary="softmax over the context and the stream's own earlier tokens together",
    paper="EE-MLLM: A Data-Efficient and Compute-Efficient Multimodal Large Language Model (Ma et "
    "al.)",
    year=2024,
    arxiv="2408.11795",
    time="N (M + N) d",
    memory="N (M + N) H",
    state="2 (M + N) E",
    published_defaults="visual tokens are the context and text tokens the stream; the same here",
    added="2026-11-30",
)
class ParallelCrossAttention(CachedAttention):
    r"""Take keys and values from the context and from the stream, queries from the stream alone.

    .. math:: o_t = \sum_{s \in C \cup \{1 \ldots t\}} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E})
              v_s

    C are the unpadded tokens of the context, whose keys and values come from the same projections
    as those of the stream. This is self attention on the sequence [context; stream] without the
    rows of the context: its tokens do not read each other, which saves M (M + N) products, so that
    work grows with N (M + N). In the paper visual tokens go through the feed-forward layers of
    the language model; here the network hands the same context to each layer. The paper describes
    it as a mask of self attention over two segments. The stream is a causal language model, which
    with a context is the pattern CC; this layer reads the stream as self attention does, beside
    the self attention of a network that has some. Padding of the stream, which a cross pattern
    does not mark, is read by later tokens only.
    """

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Read the context, then answer every token. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        state = self.initial_state(x.shape[0], context, key_padding_mask=key_padding_mask)
        return self.prefill(x, state)[0]

    def step(self, x: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B D"], State]:
        """Append the token and answer it. See `Attention.step`."""
        y, state = self.prefill(x[:, None], state)
        return y[:, 0], state

    def prefill(
        self, x: Float[Tensor, "B N D"], state: KeyValueCache
    ) -> tuple[Float[Tensor, "B N D"], KeyValueCache]:
        """Append the tokens' keys and answer all of them. See `Attention.prefill`."""
        q, k, v = (self.split_heads(read(x)) for read in (self.query, self.key, self.value))
        state = self.absorb(state, k, v)
        return self.output(self.merge_heads(self.recall(q, state))), state

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, where the queries are the last N of the M positions."""
        return softmax_attention(q, k, v, causal=True, key_padding_mask=key_padding_mask)
