"""RALA: linear attention whose key-value buffer and output are raised in rank."""

from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import (
    elu_plus_one,
    hide,
    normalise,
    padded_keys,
    softmax_over_visible,
    with_ones,
)


@register_variant(
    name="rala",
    family="linear",
    patterns="ns",
    summary="linear attention with keys weighted by the mean query, and outputs by their own "
    "token",
    paper="Breaking the Low-Rank Dilemma of Linear Attention (Fan et al.)",
    year=2024,
    arxiv="2411.07635",
    time="N d^2",
    memory="N d",
    published_defaults="feature map elu(x) + 1; the same here",
    added="2026-11-21",
)
class RalaAttention(MultiHeadAttention):
    r"""Raise the rank of the state by weights for keys, and that of the output by a product.

    .. math:: y_t = g(x_t) \odot \frac{\phi(q_t)^\top \sum_s \alpha_s \phi(k_s) v_s^\top}
              {\phi(q_t)^\top \sum_s \alpha_s \phi(k_s)}, \quad
              \alpha_s = N \, \mathrm{softmax}_s(\bar q \cdot \phi(k_s) / \sqrt{E}), \quad
              \bar q = \frac{1}{N} \sum_t \phi(q_t)

    over the N unpadded tokens, with :math:`\phi(x) = \mathrm{elu}(x) + 1` and a linear map g.
    The factor N cancels. The rotary positions and local convolution of the paper's network are
    left out. Every query enters the mean, so there is no causal form.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.gate = nn.Linear(self.dim, self.dim)

    def answer(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Gate and project."""
        return self.output(self.gate(x) * self.merge_heads(mixed))

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return the normalised sum, not yet gated; 0 if all keys are padded."""
        return _weigh(elu_plus_one(q), elu_plus_one(k), v, key_padding_mask)


@at_least_float32
def _weigh(
    queries: Float[Tensor, "B H N E"],
    keys: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    key_padding_mask: Bool[Tensor, "B N"] | None,
) -> Float[Tensor, "B H N E"]:
    padded = padded_keys(keys, key_padding_mask)
    count = (~padded).sum(dim=1).clamp(min=1)[:, None, None, None]
    mean_query = hide(queries, padded).sum(dim=2, keepdim=True) / count
    scores = mean_query @ keys.mT / keys.shape[-1] ** 0.5
    alpha = softmax_over_visible(scores, padded[:, None, None]).mT
    return normalise(queries @ ((alpha * keys).mT @ with_ones(v)))
