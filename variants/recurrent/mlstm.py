"""mLSTM of xLSTM: a matrix memory with an exponential input gate and a normaliser."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, read_decoding_context
from cab.kernels.linear.precision import at_least_float32, in_float32
from cab.kernels.linear.scalar_decay import scalar_decay_attention, scalar_decay_step
from cab.kernels.linear.starting_gates import sigmoid_start
from cab.kernels.linear.time_constants import spread
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import RecurrentAttention, Tokens, merge_heads


class MatrixState(NamedTuple):
    """The decode state: [C, n] divided by exp(m), and m."""

    memory: Float[Tensor, "B H K W"]
    level: Float[Tensor, "B H 1"]


@register_variant(
    name="mlstm",
    family="recurrent",
    patterns="cs",
    summary="a matrix memory with exponential input gates, sigmoid forget gates and a normaliser",
    paper="xLSTM: Extended Long Short-Term Memory (Beck et al.)",
    year=2024,
    arxiv="2405.04517",
    time="N d^2",
    memory="N d",
    state="ceil(E / 2) E + (ceil(E / 2) + 1) (1 + (E % ceil(4 / H) == 0) (ceil(4 / H) - 1))",
    published_defaults="a block of its own, twice as wide, with a short convolution; here the "
    "layer of xLSTM 7B (arXiv 2503.13427), with keys half as wide as values and gates capped at "
    "15, as here, input gates that start at exp(-10) and forget gates from sigmoid(3) to "
    "sigmoid(6); here input gates start at 1, as in the first paper, and the time constants of "
    "forgetting from 1/64 of the training length (at least 2 tokens) to twice that length, evenly "
    "spread in their logarithm over at least 4 value heads",
    added="2026-11-30",
    used_by=(
        ("xLSTM-7B", "https://arxiv.org/abs/2606.12364"),
        ("TiRex", "https://arxiv.org/abs/2606.12364"),
    ),
)
class MatrixLSTM(RecurrentAttention):
    r"""Write with weights that are not bounded, and divide by what the query reads of them.

    .. math:: C_t = f_t C_{t-1} + i_t k_t v_t^\top, \quad n_t = f_t n_{t-1} + i_t k_t, \quad
              h_t = \frac{C_t^\top q_t / \sqrt{K}}{\max(|n_t \cdot q_t| / \sqrt{K}, 1)}

    .. math:: f_t = \sigma(c(w_f \cdot x_t + b_f)), \quad i_t = \exp(c(w_i \cdot x_t + b_i)), \quad
              c(z) = 15 \tanh(z / 15), \qquad
              y_t = W_o (\sigma(W_g x_t) \odot \mathrm{LayerNorm}(h_t))

    The norm acts per head. C and n are kept divided by :math:`\exp(m_t)` with
    :math:`m_t = \max(m_{t-1} + \log f_t, \log i_t)`, so that nothing overflows; h does not depend
    on m. As m is known for all tokens at once, by sums and a running maximum, what is left is
    linear attention with one decay per token, in chunks. Input gates start at 1. A padded token
    neither writes nor fades. Where H is below 4 each head has several value heads.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk: tokens per chunk; it changes the cost, not the result. cap: of the gates."""

        chunk: int = 64
        cap: float = 15.0

        def __post_init__(self) -> None:
            if self.chunk < 1:
                raise ValueError("chunk must be at least 1")
            if not self.cap > 0:
                raise ValueError("cap must be above 0")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.divide_values()
        width = self.dim // self.heads
        self.state_shape = (-(-(self.dim // self.key_heads) // 2), width)
        keys = self.key_heads * self.state_shape[0]
        self.query = nn.Linear(self.dim, keys, bias=False)
        self.key = nn.Linear(self.dim, keys, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.write_gate = nn.Linear(self.dim, self.heads)
        self.forget_gate = nn.Linear(self.dim, self.heads)
        strength = 1 / spread(self.heads, self.train_length)
        logit = sigmoid_start(strength)
        with torch.no_grad():
            self.write_gate.bias.zero_()
            highest = 0.999 * self.config.cap
            inverse = (logit.clamp(-highest, highest) / self.config.cap).atanh()
            self.forget_gate.bias.copy_(self.config.cap * inverse)
        self.gate = nn.Linear(self.dim, self.dim, bias=False)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, k, v, log i, log f."""
        q, k = (self.share_heads(part(x)) for part in (self.query, self.key))
        log_write, forget = (
            self.config.cap * (gate(x).mT / self.config.cap).tanh()
            for gate in (self.write_gate, self.forget_gate)
        )
        v = self.split_heads(self.value(x))
        return (q / self.state_shape[0] ** 0.5, k, v, log_write, F.logsigmoid(forget)), recent

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N V"]:
        """Read C_t and n_t with q_t, in chunks."""
        return _matrix_memory(*tokens, self.config.chunk)

    def write(
        self, mixed: Float[Tensor, "B H N V"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise each head, gate, project."""
        return self.output(merge_heads(self.norm(mixed)) * self.gate(x).sigmoid())

    def initial_state(  # type: ignore[override]
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> MatrixState:
        """Return an empty memory at level 0. See `Attention.initial_state`."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        like = self.query.weight
        wide = torch.promote_types(like.dtype, torch.float32)
        keys, values = self.state_shape
        memory = like.new_zeros(batch, self.heads, keys, values + 1, dtype=wide)
        return MatrixState(memory, memory.new_zeros(batch, self.heads, 1))

    def step(  # type: ignore[override]
        self, x: Float[Tensor, "B D"], state: MatrixState
    ) -> tuple[Float[Tensor, "B D"], MatrixState]:
        """Take one step of the recurrence. See `Attention.step`."""
        token = x[:, None]
        (q, k, v, log_write, log_keep), _ = self.read(token, self.nothing_recent(len(x)))
        mixed, memory, level = _memory_step(q, k, v, log_write, log_keep, *state)
        return self.write(mixed.to(v.dtype), token)[:, 0], MatrixState(memory, level)


@at_least_float32
def _matrix_memory(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    log_write: Float[Tensor, "B H N"],
    log_keep: Float[Tensor, "B H N"],
    chunk: int,
) -> Float[Tensor, "B H N V"]:
    """Return h of a whole sequence.

    With F the sums of log f, log i_s - F_s is the level of a token as seen from the start, and u
    its running maximum: m_t = F_t + u_t. A weight exp(F_t - F_s + log i_s - m_t) is
    exp(log i_s - F_s - u_s) exp(u_s - u_t), two factors of at most 1, of which the second is a
    product of decays. The sums are in float64, as they are large and subtracted.
    """
    passed = log_keep.double().cumsum(dim=-1)
    seen = log_write - passed
    level = seen.detach().cummax(dim=-1).values.clamp(min=0)  # h does not depend on it
    decay = F.pad(level[..., :-1] - level[..., 1:], (1, 0)).to(k.dtype)
    keys = (seen - level).exp().to(k.dtype)[..., None] * k
    read = scalar_decay_attention(q, keys, _with_one(v), decay, chunk)
    return _normalised(read, (passed + level).to(k.dtype))


@in_float32
def _memory_step(
    q: Float[Tensor, "B H 1 K"],
    k: Float[Tensor, "B H 1 K"],
    v: Float[Tensor, "B H 1 V"],
    log_write: Float[Tensor, "B H 1"],
    log_keep: Float[Tensor, "B H 1"],
    memory: Float[Tensor, "B H K W"],
    level: Float[Tensor, "B H 1"],
) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K W"], Float[Tensor, "B H 1"]]:
    """Return what is read, and the memory and its level after the token."""
    kept = level + log_keep
    level = torch.maximum(kept, log_write)
    keys = (log_write - level).exp()[..., None] * k
    read, memory = scalar_decay_step(memory, q, keys, _with_one(v), kept - level)
    return _normalised(read, level), memory, level


def _with_one(v: Float[Tensor, "B H N V"]) -> Float[Tensor, "B H N W"]:
    """Append the channel that sums up the normaliser."""
    return torch.cat((v, torch.ones_like(v[..., :1])), dim=-1)


def _normalised(
    read: Float[Tensor, "B H N W"], level: Float[Tensor, "B H N"]
) -> Float[Tensor, "B H N V"]:
    """Divide by the normaliser's absolute value, but at least by 1, which is exp(-m) here."""
    total, least = read[..., -1:].abs(), (-level).exp()[..., None]
    return read[..., :-1] / torch.maximum(total, least)
