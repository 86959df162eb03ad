"""MALA: linear attention that becomes sharper as the query grows."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention
from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.precision import at_least_float32, in_float32
from cab.registry import register_variant
from cab.variants.linear._features import elu_plus_one, hide, normalise, with_ones


class AugmentedSum(NamedTuple):
    """The decode state: the sum of [phi(k), 1] [v, 1]^T."""

    total: Float[Tensor, "B H F F"]


@register_variant(
    name="mala",
    family="linear",
    patterns="ns cs",
    extended="cs",
    summary="linear attention whose output moves away from the mean value as the query grows",
    paper="Rectifying Magnitude Neglect in Linear Attention (Fan et al.)",
    year=2025,
    arxiv="2507.00698",
    time="N d^2",
    memory="N d",
    state="(E + 1)^2",
    published_defaults="feature map elu(x) + 1; the same here",
    added="2026-11-21",
)
class MalaAttention(DecodingAttention):
    r"""Scale and shift products of features so that they sum to 1 without a division.

    .. math:: w_{ts} = \beta_t \frac{\phi(q_t) \cdot \phi(k_s)}{n \sqrt{E}} - \gamma_t, \quad
              \beta_t = 1 + 1 / z_t, \quad \gamma_t = z_t / n, \quad
              z_t = \frac{1}{n \sqrt{E}} \sum_{s \in V_t} \phi(q_t) \cdot \phi(k_s)

    over the n keys of V_t (in CS those up to t). That is, with y the output of linear attention,

    .. math:: o_t = \sum_{s \in V_t} w_{ts} v_s = y_t + z_t (y_t - \bar v_t)

    which is how it is computed: the longer the query, the further from the mean. The paper's
    formula has the plain sum in place of z; its code scales it by 1 / (n sqrt(E)), or else z
    would grow with the length. Its rotary positions, gate and local convolution are left out.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk: tokens per chunk of the causal form; it changes the cost, not the result."""

        chunk: int = 64

        def __post_init__(self) -> None:
            if self.chunk < 1:
                raise ValueError("chunk must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing."""
        return at_least_float32(self._attend)(q, k, v, key_padding_mask)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        key_padding_mask: Bool[Tensor, "B N"] | None,
    ) -> Float[Tensor, "B H N E"]:
        if not self.pattern.causal:
            return self.recall(q, self.absorb(None, k, v, key_padding_mask))
        values = hide(with_ones(v), key_padding_mask)
        keys = hide(elu_plus_one(k), key_padding_mask)
        sums = causal_linear_attention(elu_plus_one(q), keys, values, self.config.chunk)
        return _rectify(sums, values.cumsum(dim=2))

    def absorb(
        self,
        state: AugmentedSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> AugmentedSum:
        """Add the outer products; the ones give the sums of keys, of values, and their number."""
        total = in_float32(_outer_products)(k, v, key_padding_mask)
        return AugmentedSum(total if state is None else state.total + total)

    def recall(self, q: Float[Tensor, "B H N E"], state: AugmentedSum) -> Float[Tensor, "B H N E"]:
        """Read the sums with the queries."""
        return at_least_float32(_read)(q, state.total)


def _outer_products(
    k: Float[Tensor, "B H M E"],
    v: Float[Tensor, "B H M E"],
    key_padding_mask: Bool[Tensor, "B M"] | None,
) -> Float[Tensor, "B H F F"]:
    return hide(with_ones(elu_plus_one(k)), key_padding_mask).mT @ with_ones(v)


def _read(
    q: Float[Tensor, "B H N E"], total: Float[Tensor, "B H F F"]
) -> Float[Tensor, "B H N E"]:
    return _rectify(elu_plus_one(q) @ total[:, :, :-1], total[:, :, -1:])


def _rectify(
    sums: Float[Tensor, "B H N F"], values: Float[Tensor, "B H _ F"]
) -> Float[Tensor, "B H N E"]:
    """Return y + z (y - mean) from sums of weighted and of plain values, each with 1 beside."""
    count = values[..., -1:]
    z = sums[..., -1:] / (count.clamp(min=1) * (sums.shape[-1] - 1) ** 0.5)
    y = normalise(sums)
    return y + z * (y - normalise(values))
