"""LinFusion: normalised linear attention with queries and keys from a small network."""

from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_source
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import elu_plus_one, hide, normalise, with_ones


@register_variant(
    name="linfusion",
    family="linear",
    patterns="ns",
    summary="linear attention with a residual network before queries and keys",
    paper="LinFusion: 1 GPU, 1 Minute, 16K Image (Liu et al.)",
    year=2024,
    arxiv="2409.02097",
    time="N d^2",
    memory="N d",
    published_defaults="residual networks as wide as the model; here a quarter, to stay within "
    "the parameter budget",
    added="2026-11-21",
)
class LinfusionAttention(MultiHeadAttention):
    r"""Normalise over all tokens; queries and keys are nonlinear functions of them.

    .. math:: o_t = \frac{\phi(q_t)^\top \sum_s \phi(k_s) v_s^\top}
              {\phi(q_t)^\top \sum_s \phi(k_s)}, \quad \phi(x) = \mathrm{elu}(x) + 1, \quad
              q_t = W_q (x_t + f(x_t)), \quad k_s = W_k (x_s + f'(x_s))

    with f and f' a linear layer, layer norm, leaky rectifier and linear layer each. Weights that
    sum to 1 keep outputs in place when a network meets more tokens than in training. The paper
    makes it of a scanned state space by leaving out what a direction of scan means.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.query_network, self.key_network = (_network(self.dim) for _ in range(2))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Bend, mix, project. See `Attention.forward`."""
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        mixed = self.attend(
            self.split_heads(self.query(x + self.query_network(x))),
            self.split_heads(self.key(source + self.key_network(source))),
            self.split_heads(self.value(source)),
            key_padding_mask=key_padding_mask,
        )
        return self.output(self.merge_heads(mixed))

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 if all keys are padded."""
        return _average(q, k, v, key_padding_mask)


@at_least_float32
def _average(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    key_padding_mask: Bool[Tensor, "B N"] | None,
) -> Float[Tensor, "B H N E"]:
    keys = hide(elu_plus_one(k), key_padding_mask)
    return normalise(elu_plus_one(q) @ (keys.mT @ with_ones(v)))


def _network(dim: int) -> nn.Sequential:
    hidden = max(1, dim // 4)
    return nn.Sequential(
        nn.Linear(dim, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(), nn.Linear(hidden, dim)
    )
