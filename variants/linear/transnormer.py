"""TransNormerLLM: linear attention with relative positions, a fixed decay and an output gate."""

from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, read_source
from cab.kernels.linear.rotation import back_by_one, places, rotate
from cab.registry import register_variant
from cab.variants.linear._fading import FadingAttention, FadingSum


@register_variant(
    name="transnormer",
    family="linear",
    patterns="cs",
    summary="linear attention with a decay per head and layer, relative positions in the first "
    "layer, and a gate",
    paper="Scaling TransNormer to 175 Billion Parameters (Qin et al.)",
    year=2023,
    arxiv="2307.14995",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="E^2",
    published_defaults="decays exp(-2^(-8 h / H) (1 - l / L)) in layer l of L, here with twice "
    "the training length in place of 2^8, over at least 4 value heads; positions (LRPE-d) in the "
    "first layer, as here; the authors' code doubles the channels for them, here pairs rotate",
    added="2026-11-30",
)
class TransNormer(FadingAttention):
    r"""Sum outer products of swish features with a decay, normalise, and gate.

    .. math:: u_t = \sum_{s \le t} \lambda_{hl}^{t-s}
              (R_t\, \mathrm{swish}(q_t)) \cdot (R_s\, \mathrm{swish}(k_s))\, v_s, \qquad
              y_t = W_o (\mathrm{SRMSNorm}(u_t) \odot W_g x_t), \qquad
              \lambda_{hl} = e^{-T^{-h/H} (1 - l/L)}

    h = 1, ..., H, in layer l of L, from 0. R_t rotates by angles t theta in the first layer (LRPE)
    and is left out in all others, as the paper does, in which the decay tells where a token is.
    SRMSNorm divides by the root mean square over all heads and has no parameters. T is 2
    train_length, the longest time constant in the first layer; with 128 tokens the decays are the
    paper's. Of fewer than 4 heads each has several value heads, which share its queries and keys;
    h and H then count those. `lightning` is the algorithm alone: no gate, no positions, and the
    first layer's decays. A decode state is kept in the frame of the present token.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.gate = nn.Linear(self.dim, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix, gate, project. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        q, k, v = (self.split_heads(part(x)) for part in (self.query, self.key, self.value))
        return self._write(self.attend(q, k, v), x)

    def step(
        self, x: Float[Tensor, "B D"], state: FadingSum
    ) -> tuple[Float[Tensor, "B D"], FadingSum]:
        """Fade the sum, add the token, read it, gate. See `Attention.step`."""
        token = x[:, None]
        q, k, v = (self.split_heads(part(token)) for part in (self.query, self.key, self.value))
        state = self.absorb(state, k, v)
        return self._write(self.recall(q, state), token)[:, 0], state

    def absorb(
        self,
        state: FadingSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> FadingSum:
        """Turn the sum back by one token's angles, fade it, and add the newest product."""
        if state is not None and self.layer == 0:
            state = FadingSum(back_by_one(state.total))
        return super().absorb(state, k, v, key_padding_mask)

    def _placed(
        self, q: Float[Tensor, "B P N E"], k: Float[Tensor, "B P N E"]
    ) -> tuple[Float[Tensor, "B P N E"], Float[Tensor, "B P N E"]]:
        if self.layer:
            return q, k
        return rotate(q, places(q)), rotate(k, places(k))

    def _write(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        return self.output(self.merge_heads(mixed) * self.gate(x))

    def _log_decay(self, like: Tensor) -> Float[Tensor, " P"]:
        return super()._log_decay(like) * (1 - self.layer / self.layers)
