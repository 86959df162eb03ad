"""Gated DeltaNet: the delta rule with Mamba-2's decay, so that the state can also be cleared."""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cab.kernels.linear.delta_rule import delta_rule_attention, delta_rule_step
from cab.registry import register_variant
from cab.variants.recurrent._gated_delta import GatedDelta
from cab.variants.recurrent._recurrent import Tokens, merge_heads


@register_variant(
    name="gated-deltanet",
    family="recurrent",
    patterns="cs",
    summary="the delta rule with a data-dependent decay per head and an output gate",
    paper="Gated Delta Networks: Improving Mamba2 with Delta Rule (Yang, Kautz, Hatamizadeh)",
    year=2024,
    arxiv="2412.06464",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="ceil(key_share E) E + (kernel - 1) (2 ceil(key_share E) + E)",
    published_defaults="short convolutions of 4 tokens, keys 0.75 d wide, as here; values 1.5 d "
    "wide (6 d^2 parameters), here d (4.5 d^2); A in [0, 16] and steps in [0.001, 0.1] drawn; "
    "here A = 1, and the steps give time constants of 1/64 of the training length (at least 2 "
    "tokens) to twice that length, evenly spread in their logarithm over at least 4 value heads",
    added="2026-11-21",
    used_by=(
        (
            "Qwen3-Next",
            "https://github.com/huggingface/transformers/tree/main/src/transformers/models/qwen3_next",
        ),
        ("Olmo Hybrid", "https://arxiv.org/abs/2604.03444"),
    ),
)
class GatedDeltaNet(GatedDelta):
    r"""DeltaNet whose state first decays by :math:`\alpha_t`; alpha = 1 gives DeltaNet.

    .. math:: S_t = \alpha_t (I - \beta_t k_t k_t^\top) S_{t-1} + \beta_t k_t v_t^\top, \quad
              \alpha_t = \exp(-e^a \mathrm{softplus}(w^\top x_t + b))

    .. math:: y_t = W_o (\mathrm{RMSNorm}(S_t^\top q_t) \odot \mathrm{SiLU}(W_g x_t))

    q, k (of norm 1) and v are made as in `deltanet`. At the start a = 0, and softplus(b) is 1 /
    tau for time constants tau from train_length / 64, but at least 2 tokens, to 2 train_length,
    evenly spread over the heads in their logarithm. Of fewer than 4 heads each has several value
    heads, which share its queries and keys, for as many time constants.
    """

    @dataclass(frozen=True)
    class Config:
        """key_share: width of keys over values; kernel, chunk (cost only): tokens.

        negative: whether beta reaches 2 instead of 1, as in `deltanet`.
        """

        key_share: float = 0.75
        kernel: int = 4
        chunk: int = 64
        negative: bool = False

        def __post_init__(self) -> None:
            if self.key_share <= 0:
                raise ValueError("key_share must be positive")
            if self.kernel < 1 or self.chunk < 1:
                raise ValueError("kernel and chunk must be at least 1")

    config: Config

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, k, v, beta, log alpha."""
        (q, k, v, strength, log_decay), recent = super().read(x, recent)
        return (q, k, v, (1 + self.config.negative) * strength, log_decay), recent

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N E"]:
        """Read S_t with q_t, in chunks."""
        return delta_rule_attention(*tokens, self.config.chunk)

    def advance(
        self, memory: Float[Tensor, "B H K E"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 E"], Float[Tensor, "B H K E"]]:
        """Take one step of the recurrence."""
        return delta_rule_step(memory, *tokens)

    def write(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise each head, gate, project."""
        return self.output(merge_heads(self.norm(mixed)) * F.silu(self.gate(x)))
