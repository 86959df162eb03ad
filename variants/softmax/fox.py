"""The Forgetting Transformer's attention: softmax over scores that forget gates have lowered."""

from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.starting_gates import sigmoid_start
from cab.kernels.linear.time_constants import spread
from cab.registry import register_variant
from cab.variants.softmax._masked import hidden_pairs, masked_softmax
from cab.variants.softmax._reading import ReadingAttention


class ForgettingCache(NamedTuple):
    """The decode state: keys, values, and the sum of log gates since each of them."""

    k: Float[Tensor, "B H M E"]
    v: Float[Tensor, "B H M E"]
    since: Float[Tensor, "B H M"]


@register_variant(
    name="fox",
    family="softmax",
    patterns="cs",
    summary="softmax attention with a data-dependent forget gate per head on the scores",
    paper="Forgetting Transformer: Softmax Attention with a Forget Gate (Lin, Nikishin, He, "
    "Courville)",
    year=2025,
    arxiv="2503.02130",
    time="N^2 d",
    memory="N^2",
    state="2 M E + M",
    published_defaults="no positions, as far as the backbone gives none; biases of the gates that "
    "start at 0; here the time constants of forgetting start from 1/64 of the training length (at "
    "least 2 tokens) to twice that length, evenly spread in their logarithm over the heads; the "
    "Pro block's output gate, norms of queries, keys and outputs, and shifts of keys and values "
    "are left out, as in the paper's plain form",
    added="2026-11-30",
)
class ForgettingAttention(ReadingAttention):
    r"""Add to each score the log forget gates between the key and the query.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s
              \left(\frac{q_t \cdot k_s}{\sqrt{E}} + \sum_{l = s + 1}^t \log f_l\right) v_s, \quad
              f_t = \sigma(w_f \cdot x_t + b_f)

    V_t are the unpadded positions up to t; a padded token does not forget. Each head has a gate.
    With all gates at 1 it is softmax attention, with constant ones ALiBi. Gates belong to the
    tokens between a key and a query, which noncausal and cross patterns lack.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.forget = nn.Linear(self.dim, self.heads)
        strength = 1 / spread(self.heads, self.train_length)
        with torch.no_grad():
            self.forget.bias.copy_(sigmoid_start(strength))

    def empty(self, x: Float[Tensor, "B N D"]) -> ForgettingCache:
        """Return an empty cache; sums of log gates want float32 at least."""
        nothing = x.new_zeros(x.shape[0], self.heads, 0, self.head_width)
        wide = torch.promote_types(x.dtype, torch.float32)
        return ForgettingCache(nothing, nothing, nothing.new_zeros(nothing.shape[:3], dtype=wide))

    def read(
        self,
        x: Float[Tensor, "B N D"],
        state: ForgettingCache,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B N D"], ForgettingCache]:
        """Return the outputs of tokens that follow the cache, and the cache with them.

        Sums of log gates are in float32 at least; bfloat16 would round hundreds of small ones off.
        """
        q, k, v = (self.split_heads(part(x)) for part in (self.query, self.key, self.value))
        k, v = torch.cat((state.k.to(k), k), dim=2), torch.cat((state.v.to(v), v), dim=2)
        log_gates = F.logsigmoid(self.forget(x).to(state.since.dtype)).mT
        if key_padding_mask is not None:
            log_gates = log_gates.masked_fill(key_padding_mask[:, None], 0.0)
        passed = log_gates.cumsum(dim=-1)
        since = torch.cat((state.since, -passed), dim=-1)  # seen from where the cache ended
        scores = (q / self.head_width**0.5) @ k.mT + (passed[..., None] + since[:, :, None])
        hidden = hidden_pairs(q, k, causal=True, key_padding_mask=key_padding_mask)
        mixed = masked_softmax(scores, hidden).to(v.dtype) @ v
        state = ForgettingCache(k, v, since + passed[..., -1:])
        return self.output(self.merge_heads(mixed)), state
