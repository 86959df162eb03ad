"""Non-approximate attention: each token weighs itself, by its own query and key."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention, read_decoding_context
from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.scalar_decay import scalar_decay_attention
from cab.registry import register_variant
from cab.variants.linear._prefix_softmax import NOTHING, SoftmaxSum, prefix_softmax, softmax_sum


@register_variant(
    name="non-approximate",
    family="linear",
    patterns="ns cs",
    extended="ns",
    summary="softmax over tokens of the product of each token's own query and key",
    paper="Deconstructing Attention: Investigating Design Principles for Effective Language "
    "Modeling (Xue, Moosavi, Aletras)",
    year=2025,
    arxiv="2510.11602",
    time="N d^2",
    memory="N d",
    state="E + 1",
    published_defaults="no hyper-parameters",
    added="2026-11-30",
)
class NonApproximateAttention(MultiHeadAttention):
    r"""Give every token one score per head, whoever asks, and normalise over what is visible.

    .. math:: o_t = \sum_{s \in V_t} \frac{e^{a_s}}{\sum_{u \in V_t} e^{a_u}} v_s, \quad
              a_s = \mathrm{SiLU}(W_q x_s) \cdot W_k x_s / \sqrt{E}

    V_t are the unpadded tokens, in CS those up to t. This is the paper's form that breaks with
    similarity: no query meets another token's key, so in NS all tokens get the same answer. In CS
    o is a mean that each token moves by its share, computed in chunks in linear time; the state is
    the mean and the logarithm of the sum of weights. The paper is causal, and turns queries and
    keys by rotary positions as Qwen2.5 does; positions are left to the backbone.
    """

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a token that sees nothing."""
        if not self.pattern.causal:
            mean = softmax_sum(_scores(q, k), v, key_padding_mask).mean
            return mean.to(v.dtype).expand_as(v)
        return _running_mean(v, _scores(q, k), key_padding_mask)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> SoftmaxSum:
        """Return the mean of nothing. See `Attention.initial_state`."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        weight = self.key.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        mean = weight.new_zeros(batch, self.heads, 1, self.head_width, dtype=dtype)
        return SoftmaxSum(mean, torch.full_like(mean[..., :1], NOTHING))

    def step(
        self, x: Float[Tensor, "B D"], state: SoftmaxSum
    ) -> tuple[Float[Tensor, "B D"], SoftmaxSum]:
        """Move the mean by the token's share. See `Attention.step`."""
        q, k, v = (
            self.split_heads(part(x[:, None])) for part in (self.query, self.key, self.value)
        )
        state = softmax_sum(_scores(q, k), v, None, state)
        return self.output(self.merge_heads(state.mean.to(v.dtype)))[:, 0], state


@at_least_float32
def _scores(q: Float[Tensor, "B H N E"], k: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N 1"]:
    """Return a, one score per token."""
    return (F.silu(q) * k).sum(dim=-1, keepdim=True) / q.shape[-1] ** 0.5


@at_least_float32
def _running_mean(
    v: Float[Tensor, "B H N E"],
    scores: Float[Tensor, "B H N 1"],
    key_padding_mask: Bool[Tensor, "B N"] | None,
) -> Float[Tensor, "B H N E"]:
    """Return the mean of the values up to each token under the softmax of the scores."""
    prefix = prefix_softmax(scores, key_padding_mask)
    ones = torch.ones_like(prefix.weight)
    return scalar_decay_attention(ones, prefix.weight, v, prefix.log_decay[..., 0])
