"""Comba: the gated delta rule with feedback of a strength of its own, and a corrected query."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.generalised_delta import (
    generalised_delta_attention,
    generalised_delta_step,
)
from cab.registry import register_variant
from cab.variants.recurrent._gated_delta import GatedDelta
from cab.variants.recurrent._recurrent import Tokens, merge_heads


@register_variant(
    name="comba",
    family="recurrent",
    patterns="cs",
    summary="the gated delta rule that erases less than it writes, and subtracts the key from "
    "the query",
    paper="Improving Bilinear RNNs with Closed-loop Control (Hu et al.)",
    year=2025,
    arxiv="2506.02475",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="ceil(key_share E) E + (kernel - 1) (2 ceil(key_share E) + E)",
    published_defaults="short convolutions of 4 tokens, keys 0.75 d wide, c = sigmoid(1) at the "
    "start, as here; values 1.5 d wide, here d (4.5 d^2 parameters); the query's correction "
    "starts at 1, or at 0.02 in small models, here at 0.02; rates in [0, 16] and steps in [0.001, "
    "0.1] drawn; here rates of 1, and steps as in gated-deltanet",
    added="2026-11-30",
)
class Comba(GatedDelta):
    r"""Gated DeltaNet with two corrections: of the state by c, of the output by d.

    .. math:: S_t = \alpha_t (I - c \beta_t k_t k_t^\top) S_{t-1} + \beta_t k_t v_t^\top, \quad
              o_t = S_t^\top (q_t - d k_t)

    .. math:: y_t = W_o (\mathrm{RMSNorm}(o_t) \odot \sigma(W_g x_t))

    c = sigmoid(.) in (0, 1) and d are numbers learned per head; alpha, beta, q, k (of norm 1) and
    v are made as in `gated-deltanet`, whose state this has at c = 1. Control theory calls them the
    state feedback and the output feedback. The authors' code normalises c k_t and the corrected
    query again, after which c has no effect; here the equation of the paper stands. As in
    `gated-deltanet`, fewer than 4 heads are divided into several value heads each.
    """

    @dataclass(frozen=True)
    class Config:
        """key_share: width of keys over values; correction: d at the start; kernel: tokens;
        chunk: a power of two (cost only).
        """

        key_share: float = 0.75
        correction: float = 0.02
        kernel: int = 4
        chunk: int = 32

        def __post_init__(self) -> None:
            if self.key_share <= 0:
                raise ValueError("key_share must be positive")
            if self.kernel < 1:
                raise ValueError("kernel must be at least 1")
            if self.chunk < 1 or self.chunk & (self.chunk - 1):
                raise ValueError("chunk must be a power of two")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.feedback = nn.Parameter(torch.ones(self.heads))  # c = sigmoid(feedback)
        self.correction = nn.Parameter(torch.full((self.heads,), self.config.correction))  # d

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q - d k, k, v, beta, log alpha."""
        (q, k, *rest), recent = super().read(x, recent)
        return (q - self.correction[:, None, None] * k, k, *rest), recent

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N E"]:
        """Read S_t with q_t - d k_t, in chunks."""
        return generalised_delta_attention(*self._generalised(*tokens), self.config.chunk)

    def advance(
        self, memory: Float[Tensor, "B H K E"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 E"], Float[Tensor, "B H K E"]]:
        """Take one step of the recurrence."""
        return generalised_delta_step(memory, *self._generalised(*tokens))

    def write(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise each head, gate, project."""
        return self.output(merge_heads(self.norm(mixed)) * self.gate(x).sigmoid())

    def _generalised(
        self, q: Tensor, k: Tensor, v: Tensor, strength: Tensor, log_decay: Tensor
    ) -> Tokens:
        """Return q, k, v, a, b, log decay of S <- (diag(exp(g)) + b a^T) S + k v^T."""
        feedback = self.feedback.sigmoid()[:, None, None]
        log_decay = log_decay[..., None].expand_as(k)
        written = strength[..., None] * k
        return q, written, v, -(feedback * k * log_decay.exp()), written, log_decay
