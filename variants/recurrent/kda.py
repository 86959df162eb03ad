"""Kimi Delta Attention: the gated delta rule with a decay of its own for every key channel."""

from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.recurrent._delta import ChannelDelta, check_delta_config


@register_variant(
    name="kda",
    family="recurrent",
    patterns="cs",
    summary="the delta rule with a data-dependent decay per key channel and an output gate",
    paper="Kimi Linear: An Expressive, Efficient Attention Architecture (Kimi Team)",
    year=2025,
    arxiv="2510.26692",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="E^2 + 3 (kernel - 1) E",
    published_defaults="short convolutions of 4 tokens, as here; low-rank gates of rank 128 at a "
    "width of 2,304, here 4 for 64; rates in [1, 16] and steps in [0.001, 0.1] drawn; here rates "
    "of 1, and steps that give time constants of 1/64 of the training length (at least 2 tokens) "
    "to twice that length, evenly spread in their logarithm over the key channels",
    added="2026-11-30",
    used_by=(
        ("Kimi Linear", "https://arxiv.org/abs/2510.26692"),
        ("Kimi K3", "https://github.com/vllm-project/vllm-ascend/pull/12950"),
    ),
)
class KimiDeltaAttention(ChannelDelta):
    r"""Gated DeltaNet whose decay :math:`\alpha_t` is a vector, as that of `gla`.

    .. math:: S_t = (I - \beta_t k_t k_t^\top) \mathrm{diag}(\alpha_t) S_{t-1}
              + \beta_t k_t v_t^\top, \quad
              \alpha_t = \exp(-e^a \mathrm{softplus}(W_2 W_1 x_t + b)), \quad
              \beta_t = \sigma(w^\top x_t)

    .. math:: y_t = W_o (\mathrm{RMSNorm}(S_t^\top q_t) \odot \sigma(U_2 U_1 x_t + c))

    q, k (of norm 1) and v are made as in `deltanet`; a is one number per head, and the gates
    W_2 W_1 and U_2 U_1 are of low rank. At the start a = 0, and softplus(b) is 1 / tau for time
    constants tau from train_length / 64, but at least 2 tokens, to 2 train_length, evenly spread
    over the channels in their logarithm. The authors divide q by sqrt(E), which the norm undoes.
    """

    @dataclass(frozen=True)
    class Config:
        """rank of the gates; kernel: tokens; chunk: a power of two (cost only).

        negative: whether beta reaches 2 instead of 1, as in `deltanet`.
        """

        rank: int = 4
        kernel: int = 4
        chunk: int = 32
        negative: bool = False

        def __post_init__(self) -> None:
            check_delta_config(self.rank, self.kernel, self.chunk)

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.strength = nn.Linear(self.dim, self.heads, bias=False)

    def gates(
        self, x: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B H N 1"], Float[Tensor, "B H N 1"]]:
        """Return beta for both: what is read is replaced by as much of the value."""
        strength = (1 + self.config.negative) * self.split_heads(self.strength(x)).sigmoid()
        return strength, strength
