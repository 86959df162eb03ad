"""HGRN2: a gated recurrence whose forget gate is also, as its complement, the key."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.time_constants import over_channels
from cab.kernels.linear.vector_decay import vector_decay_attention, vector_decay_step
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import RecurrentAttention, Tokens, merge_heads


@register_variant(
    name="hgrn2",
    family="recurrent",
    patterns="cs",
    summary="forget gates with a lower bound, tied to the keys; states expanded by outer products",
    paper="HGRN2: Gated Linear RNNs with State Expansion (Qin et al.)",
    year=2024,
    arxiv="2404.07904",
    time="N d^2",
    memory="N d",
    state="E^2",
    published_defaults="state expansion 128 = head width, as here; lower bounds that grow from "
    "0 with the layer and start alike in all channels; here every layer's bounds give time "
    "constants of 1/64 of the training length (at least 2 tokens) to twice that length, evenly "
    "spread in their logarithm over the channels",
    added="2026-11-21",
)
class Hgrn2(RecurrentAttention):
    r"""Forget gates above a learned bound :math:`\beta`; the key is the complement of the gate.

    .. math:: f_t = \beta + (1 - \beta) \sigma(W_f x_t), \quad
              S_t = \mathrm{diag}(f_t) S_{t-1} + (1 - f_t) i_t^\top, \quad
              y_t = W_o \mathrm{RMSNorm}(S_t^\top q_t)

    with input i = W_i x and output gate q = swish(W_q x). The paper ties the bounds of all layers
    by a cumulative softmax, so that higher layers forget more slowly; a mixer shares no parameter
    with other layers, so each learns its own, per channel: :math:`\beta = \sigma(b)`. b starts so
    that for x = 0 the time constants of the channels of a head go from train_length / 64, but at
    least 2 tokens, to 2 train_length, evenly spread in their logarithm.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk: tokens per chunk (cost only), a power of two."""

        chunk: int = 32

        def __post_init__(self) -> None:
            if self.chunk < 1 or self.chunk & (self.chunk - 1):
                raise ValueError("chunk must be a power of two")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        width = self.dim // self.heads
        self.state_shape = (width, width)
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.forget = nn.Linear(self.dim, self.dim, bias=False)
        self.input = nn.Linear(self.dim, self.dim, bias=False)
        self.output = nn.Linear(self.dim, self.dim, bias=False)
        keep = (-1 / over_channels(self.heads, width, self.train_length)).exp()
        self.bound = nn.Parameter((2 * keep - 1).logit().float())
        self.norm = nn.RMSNorm(self.dim, eps=1e-5)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, the keys 1 - f, i, log f."""
        forget, bound = self.forget(x), self.bound
        # log(beta + (1 - beta) sigmoid(.)), and its complement without cancellation.
        log_keep = torch.logaddexp(
            F.logsigmoid(bound), F.logsigmoid(-bound) + F.logsigmoid(forget)
        )
        k = (-bound).sigmoid() * (-forget).sigmoid()
        parts = (F.silu(self.query(x)), k, self.input(x), log_keep)
        return tuple(self.split_heads(part) for part in parts), recent

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N E"]:
        """Read S_t with q_t, in chunks."""
        return vector_decay_attention(*tokens, self.config.chunk)

    def advance(
        self, memory: Float[Tensor, "B H E E"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 E"], Float[Tensor, "B H E E"]]:
        """Take one step of the recurrence."""
        return vector_decay_step(memory, *tokens)

    def write(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise over all heads, project."""
        return self.output(self.norm(merge_heads(mixed)))
