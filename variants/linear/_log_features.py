"""Attention with positive features that are given as logarithms."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.vector_decay import vector_decay_attention
from cab.variants.linear._prefix_softmax import SoftmaxSum, prefix_softmax, softmax_sum


class LogFeatureAttention(DecodingAttention):
    r"""Weigh values by :math:`\sum_j \exp(a_{tj} + b_{sj})`, a of the query and b of the key.

    .. math:: o_t = \sum_j \mathrm{softmax}_j(a_{tj} + B_{tj}) \bar v_{tj}, \quad
              \bar v_{tj} = \sum_{s \in V_t} \exp(b_{sj} - B_{tj}) v_s, \quad
              B_{tj} = \log \sum_{s \in V_t} \exp(b_{sj})

    That is the normalised sum, written so that no exponential exceeds 1: large keys neither
    overflow nor vanish, and no maximum is taken over what a query may not see.
    """

    def log_query_features(self, q: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N J"]:
        """Return a; what is the same for all features of a query may be left out."""
        raise NotImplementedError

    def log_key_features(self, k: Float[Tensor, "B H M E"]) -> Float[Tensor, "B H M J"]:
        """Return b."""
        raise NotImplementedError

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing."""
        return at_least_float32(self._attend)(q, k, v, key_padding_mask)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "B H N E"]:
        if self.pattern.cross or not self.pattern.causal:
            return self.recall(q, self.absorb(None, k, v, key_padding_mask))
        prefix = prefix_softmax(self.log_key_features(k), key_padding_mask)
        share = (self.log_query_features(q) + prefix.log_total).softmax(dim=-1)
        return vector_decay_attention(share, prefix.weight, v, prefix.log_decay)

    def absorb(
        self,
        state: SoftmaxSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> SoftmaxSum:
        """Add the keys to the mean values of every feature."""
        k, v = _widened(k), _widened(v)
        return softmax_sum(self.log_key_features(k), v, key_padding_mask, state)

    def recall(self, q: Float[Tensor, "B H N E"], state: SoftmaxSum) -> Float[Tensor, "B H N E"]:
        """Share the mean values out by the query's features."""
        logits = self.log_query_features(_widened(q)) + state.log_total.mT
        return (logits.softmax(dim=-1) @ state.mean).to(q.dtype)


def _widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
