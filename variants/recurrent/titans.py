"""Titans' neural memory: a matrix trained on the tokens by gradient descent with momentum."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Geometry, read_decoding_context
from cab.kernels.linear.precision import at_least_float32, in_float32
from cab.kernels.linear.scalar_decay import between_tokens
from cab.kernels.linear.scan import in_chunks, states_before
from cab.kernels.linear.starting_gates import sigmoid_start
from cab.kernels.linear.time_constants import spread
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import (
    RecurrentAttention,
    ShortConvolution,
    Tokens,
    merge_heads,
    normalise,
)


class MemoryState(NamedTuple):
    """The decode state: M and S, the M where the chunk began, and the place in the chunk."""

    memory: Float[Tensor, "B H E V"]
    momentum: Float[Tensor, "B H E V"]
    start: Float[Tensor, "B H E V"]
    recent: Float[Tensor, "B R C"]
    place: Int[Tensor, "B 1"]


@register_variant(
    name="titans",
    family="recurrent",
    patterns="cs",
    summary="a matrix memory trained at test time with momentum, forgetting and data-dependent "
    "rates",
    paper="Titans: Learning to Memorize at Test Time (Behrouz, Zhong, Mirrokni)",
    year=2025,
    arxiv="2501.00663",
    padding="position",
    time="N d^2",
    memory="N d",
    state="3 E^2 + 1 / H + (kernel - 1) 3 E",
    published_defaults="memories of 1 to 4 layers, 2 or more beside attention, here 1; short "
    "convolutions of 4 tokens, as here; a memory beside attention over a window and persistent "
    "tokens in the context, gate and layer forms, here alone; an output gate of full rank, here "
    "of rank 16, which keeps the layer near softmax's size; rates not bounded; here the time "
    "constants of forgetting start from 1/64 of the training length (at least 2 tokens) to twice "
    "that length, evenly spread in their logarithm over at least 4 value heads",
    added="2026-11-30",
)
class NeuralMemory(RecurrentAttention):
    r"""Learn to give values for keys: S is the momentum, alpha forgets, theta is the rate.

    .. math:: M_t = (1 - \alpha_t) M_{t-1} + S_t, \quad
              S_t = \eta_t S_{t-1} - \theta_t \nabla \tfrac12 \lVert M_{t'}^\top k_t - v_t
              \rVert^2, \qquad
              y_t = W_o (\mathrm{RMSNorm}(M_t^\top q_t) \odot \mathrm{SiLU}(W_g x_t))

    t' is the last token before the chunk of t: within a chunk all gradients are taken at one M, as
    the paper trains. q and k have norm 1; q, k and v pass a short convolution with SiLU. alpha and
    eta are sigmoids of projections of x, and :math:`\theta_t = (1 - \eta_t) \sigma(w x_t) / C`
    with chunks of C tokens: the factors, which the paper leaves to learning, keep C gradients that
    are added at once from overshooting. With M a matrix the loss is quadratic and a chunk changes
    (M, S) linearly, so that the states before all chunks come from one scan. The paper's
    memories are deeper networks too, which only a loop over chunks can train. A padded token
    neither writes nor fades.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk: C, tokens with gradients taken at one M. kernel: tokens. gate_rank: of W_g."""

        chunk: int = 16
        kernel: int = 4
        gate_rank: int = 16

        def __post_init__(self) -> None:
            if min(self.chunk, self.kernel, self.gate_rank) < 1:
                raise ValueError("chunk, kernel and gate_rank must be at least 1")

    config: Config
    writers = (3, 4, 5)

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.divide_values()
        self.state_shape = (self.dim // self.key_heads, self.dim // self.heads)
        self.query, self.key, self.value = (
            nn.Linear(self.dim, self.dim, bias=False) for _ in range(3)
        )
        self.convolution = ShortConvolution(3 * self.dim, self.config.kernel)
        self.rate = nn.Linear(self.dim, self.heads)
        self.keep_momentum = nn.Linear(self.dim, self.heads)
        self.keep = nn.Linear(self.dim, self.heads)
        strength = 1 / spread(self.heads, self.train_length)
        with torch.no_grad():  # the logit of exp(-1 / tau)
            self.keep.bias.copy_(sigmoid_start(strength))
        self.gate = nn.Sequential(
            nn.Linear(self.dim, self.config.gate_rank, bias=False),
            nn.Linear(self.config.gate_rank, self.dim, bias=False),
        )
        self.norm = nn.RMSNorm(self.state_shape[1], eps=1e-5)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, k, v, theta, log eta, 1 (0 for padding) and log (1 - alpha)."""
        projected = torch.cat((self.query(x), self.key(x), self.value(x)), dim=-1)
        convolved, recent = self.convolution(projected, recent)
        q, k, v = convolved.chunk(3, dim=-1)
        q, k, v = self.share_heads(q), self.share_heads(k), self.split_heads(v)
        momentum = self.keep_momentum(x).mT
        rate = (-momentum).sigmoid() * self.rate(x).sigmoid().mT / self.config.chunk
        decays = F.logsigmoid(momentum), torch.ones_like(momentum), F.logsigmoid(self.keep(x)).mT
        return (normalise(q), normalise(k), v, rate, *decays), recent

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N V"]:
        """Read M_t with q_t, in chunks."""
        return _memory_attention(*tokens, self.config.chunk)

    def write(
        self, mixed: Float[Tensor, "B H N V"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise each head, gate, project."""
        return self.output(merge_heads(self.norm(mixed)) * F.silu(self.gate(x)))

    def initial_state(  # type: ignore[override]
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> MemoryState:
        """Return an empty memory without momentum."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        recent = self.nothing_recent(batch)
        dtype = torch.promote_types(recent.dtype, torch.float32)
        empty = recent.new_zeros(batch, self.heads, *self.state_shape, dtype=dtype)
        place = torch.zeros(batch, 1, dtype=torch.long, device=recent.device)
        return MemoryState(empty, empty, empty, recent, place)

    def step(  # type: ignore[override]
        self, x: Float[Tensor, "B D"], state: MemoryState
    ) -> tuple[Float[Tensor, "B D"], MemoryState]:
        """Take one gradient step and read. See `Attention.step`."""
        token = x[:, None]
        (q, k, v, rate, log_momentum, _, log_keep), recent = self.read(token, state.recent)
        mixed, memory, momentum = _memory_step(
            q, k, v, rate, log_momentum, log_keep, state.memory, state.momentum, state.start
        )
        place = (state.place + 1) % self.config.chunk
        start = torch.where((place == 0)[..., None, None], memory, state.start)
        after = MemoryState(memory, momentum, start, recent, place)
        return self.write(mixed.to(v.dtype), token)[:, 0], after


@at_least_float32
def _memory_attention(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    rate: Float[Tensor, "B H N"],
    log_momentum: Float[Tensor, "B H N"],
    present: Float[Tensor, "B H N"],
    log_keep: Float[Tensor, "B H N"],
    chunk: int,
) -> Float[Tensor, "B H N V"]:
    """Return M_t^T q_t. A token at s is in M_t with what of its gradient is left there."""
    length = v.shape[2]
    inputs = (q, k, v, rate, log_momentum, present, log_keep)
    q, k, v, rate, log_momentum, present, log_keep = (
        in_chunks(x, min(chunk, length)) for x in inputs
    )
    kept, fading = log_keep.cumsum(dim=3), log_momentum.cumsum(dim=3)
    memory, momentum = between_tokens(kept), between_tokens(fading)  # (B, H, n, C, C)
    joined = memory * present[..., None, :]
    weights = joined @ momentum  # of gradient s in M_t
    carried = joined @ fading.exp()[..., None]  # of the momentum before the chunk in M_t
    kept, keys, targets = kept.exp()[..., None], rate[..., None] * k, rate[..., None] * v

    # (M, S) after the chunk is `transition` (M, S) before it, plus `update`.
    width = k.shape[-1]
    identity = torch.eye(width, dtype=k.dtype, device=k.device)
    late = torch.stack((weights[..., -1, :], momentum[..., -1, :]), dim=-2)  # (..., 2, C)
    written = (late[..., None] * k[..., None, :, :]).mT.flatten(-3, -2)  # (..., 2 K, C)
    left = kept[..., -1:, :] * F.pad(identity, (0, 0, 0, width))  # S has no part of M itself
    right = torch.stack((carried[..., -1, :], fading[..., -1:].exp()), dim=-2)[..., None]
    right = (right * identity).flatten(-3, -2)
    transition = torch.cat((left - written @ keys, right), dim=-1)
    before = states_before(transition, written @ targets, torch.matmul)
    start, speed = before.split(width, dim=-2)
    out = (weights * (q @ k.mT)) @ (targets - keys @ start)
    out = out + kept * (q @ start) + carried * (q @ speed)
    return out.flatten(2, 3)[:, :, :length]


@in_float32
def _memory_step(
    q: Float[Tensor, "B H 1 K"],
    k: Float[Tensor, "B H 1 K"],
    v: Float[Tensor, "B H 1 V"],
    rate: Float[Tensor, "B H 1"],
    log_momentum: Float[Tensor, "B H 1"],
    log_keep: Float[Tensor, "B H 1"],
    memory: Float[Tensor, "B H K V"],
    momentum: Float[Tensor, "B H K V"],
    start: Float[Tensor, "B H K V"],
) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K V"], Float[Tensor, "B H K V"]]:
    """Return what is read, and M and S after the token."""
    error = rate[..., None] * (v - k @ start)
    momentum = log_momentum.exp()[..., None] * momentum + k.mT * error
    memory = log_keep.exp()[..., None] * memory + momentum
    return q @ memory, memory, momentum
