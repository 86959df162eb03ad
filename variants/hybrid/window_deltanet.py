"""A sliding window beside the gated delta rule, in the heads of one layer."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_decoding_context, read_source
from cab.errors import UnsupportedWidth
from cab.kernels.linear.delta_rule import delta_rule_attention, delta_rule_step
from cab.kernels.linear.starting_gates import softplus_start
from cab.kernels.linear.time_constants import spread, value_heads
from cab.kernels.window.chunked import window_attention
from cab.registry import register_variant

Parts = tuple[Tensor, ...]


class HybridState(NamedTuple):
    """The decode state: the window's keys and values, the memory, the convolution's inputs."""

    keys: Float[Tensor, "B W w E"]
    values: Float[Tensor, "B W w E"]
    absent: Bool[Tensor, "B w"]
    memory: Float[Tensor, "B G E V"]
    recent: Float[Tensor, "B R C"]


@register_variant(
    name="window-deltanet",
    family="hybrid",
    patterns="cs",
    summary="a quarter of the heads attends within a window, the others follow the gated delta "
    "rule",
    paper="InfiniteVL: Synergizing Linear and Sparse Attention for Highly-Efficient, "
    "Unlimited-Input Vision-Language Models (Tao et al.)",
    year=2025,
    arxiv="2512.08829",
    padding="distance",
    time="N d (d + window)",
    memory="N (d + window)",
    state="(2 window E max(1, H // 4) + (H - max(1, H // 4)) (E^2 + 3 (kernel - 1) E)) / H",
    published_defaults="one layer with a window of 8,192 tokens, then three with the gated delta "
    "rule; here both in each layer, a window of 16 in a quarter of its heads, at least one; the "
    "time constants of the decay start from 1/64 of the training length (at least 2 tokens) to "
    "twice that length, evenly spread in their logarithm over at least 4 value heads",
    added="2026-11-30",
)
class WindowDeltaNet(MultiHeadAttention):
    r"""Softmax over the last w tokens in W heads, the gated delta rule in the other H - W.

    .. math:: o_t^h = \sum_{t - w < s \le t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s
              \quad (h \le W), \qquad
              o_t^h = \mathrm{RMSNorm}(S_t^\top q_t) \odot \mathrm{SiLU}(g_t) \quad (h > W)

    .. math:: S_t = \alpha_t (I - \beta_t k_t k_t^\top) S_{t-1} + \beta_t k_t v_t^\top, \quad
              \alpha_t = \exp(-\mathrm{softplus}(w_\alpha x_t + b))

    W = max(1, H / 4 rounded down). The paper mixes whole layers, one with a window to three with
    the delta rule. A layer here is one layer of any task's network, some of which have two, so
    both are put side by side in the same proportion; a network that mixes layers is an option of
    the backbone. In the heads of the delta rule q, k and v pass a short convolution and SiLU, and
    q and k have norm 1, as in `gated-deltanet`. Fewer than 4 of them have several value heads
    each, which share queries and keys.
    """

    @dataclass(frozen=True)
    class Config:
        """window: tokens that a query sees, itself included. kernel, chunk (cost only): tokens."""

        window: int = 16
        kernel: int = 4
        chunk: int = 64

        def __post_init__(self) -> None:
            if min(self.window, self.kernel, self.chunk) < 1:
                raise ValueError("window, kernel and chunk must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        if self.heads < 2:
            raise UnsupportedWidth("A window beside the delta rule needs 2 heads or more.")
        self.near = max(1, self.heads // 4)
        self.far = self.heads - self.near
        self.channels = self.far * self.head_width
        self.parts = value_heads(self.far, self.head_width)
        self.convolution = nn.Conv1d(
            3 * self.channels,
            3 * self.channels,
            self.config.kernel,
            groups=3 * self.channels,
            bias=False,
        )
        self.strength = nn.Linear(self.dim, self.far * self.parts, bias=False)
        self.decay = nn.Linear(self.dim, self.far * self.parts)
        step = 1 / spread(self.far * self.parts, self.train_length)
        with torch.no_grad():  # the inverse of softplus
            self.decay.bias.copy_(softplus_start(step))
        self.gate = nn.Linear(self.dim, self.channels, bias=False)
        self.norm = nn.RMSNorm(self.head_width // self.parts, eps=1e-5)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix the whole sequence; a padded token neither writes nor fades what is written."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        near, far, _ = self._read(x, self._nothing_recent(x.shape[0]))
        window = window_attention(
            *near, window=self.config.window, causal=True, key_padding_mask=key_padding_mask
        )
        if key_padding_mask is not None:
            hidden = key_padding_mask[:, None]
            far = (*far[:3], *(part.masked_fill(hidden, 0.0) for part in far[3:]))
        return self._write(window, delta_rule_attention(*far, self.config.chunk), x)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> HybridState:
        """Return an empty window and an empty memory."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        recent, window = self._nothing_recent(batch), self.config.window
        empty = recent.new_zeros(batch, self.near, window, self.head_width)
        absent = torch.ones(batch, window, dtype=torch.bool, device=recent.device)
        shape = (self.far * self.parts, self.head_width, self.head_width // self.parts)
        dtype = torch.promote_types(recent.dtype, torch.float32)
        return HybridState(
            empty, empty, absent, recent.new_zeros(batch, *shape, dtype=dtype), recent
        )

    def step(
        self, x: Float[Tensor, "B D"], state: HybridState
    ) -> tuple[Float[Tensor, "B D"], HybridState]:
        """Move the window by one token and take one step of the recurrence."""
        token = x[:, None]
        (q, k, v), far, recent = self._read(token, state.recent)
        keys = torch.cat((state.keys, k), dim=2)[:, :, 1:]
        values = torch.cat((state.values, v), dim=2)[:, :, 1:]
        absent = F.pad(state.absent, (0, 1))[:, 1:]
        seen = ~absent[:, None, None]
        window = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
        mixed, memory = delta_rule_step(state.memory, *far)
        after = HybridState(keys, values, absent, memory, recent)
        return self._write(window, mixed, token)[:, 0], after

    def _read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Parts, Parts, Float[Tensor, "B R C"]]:
        """Return q, k, v of the window; q, k, v, beta, log alpha of the rule; what is recent."""
        width = self.dim - self.channels
        projected = [part(x) for part in (self.query, self.key, self.value)]
        near = tuple(_heads(part[..., :width], self.near) for part in projected)
        joined = torch.cat([part[..., width:] for part in projected], dim=-1)
        joined = torch.cat((recent.to(joined.dtype), joined), dim=1)
        recent = joined[:, joined.shape[1] - self.config.kernel + 1 :]
        q, k, v = F.silu(self.convolution(joined.mT).mT).chunk(3, dim=-1)
        q, k = (
            _unit(_heads(part, self.far)).repeat_interleave(self.parts, dim=1) for part in (q, k)
        )
        v = _heads(v, self.far * self.parts)
        far = (q, k, v, self.strength(x).sigmoid().mT, -F.softplus(self.decay(x)).mT)
        return near, far, recent

    def _write(
        self, near: Float[Tensor, "B W N E"], far: Float[Tensor, "B G N V"], x: Tensor
    ) -> Float[Tensor, "B N D"]:
        gated = self.merge_heads(self.norm(far)) * F.silu(self.gate(x))
        return self.output(torch.cat((self.merge_heads(near), gated), dim=-1))

    def _nothing_recent(self, batch: int) -> Float[Tensor, "B R C"]:
        return self.gate.weight.new_zeros(batch, self.config.kernel - 1, 3 * self.channels)


def _heads(x: Float[Tensor, "B N C"], heads: int) -> Float[Tensor, "B H N E"]:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _unit(x: Float[Tensor, "B H N K"]) -> Float[Tensor, "B H N K"]:
    """Divide by the Euclidean norm, softly: a key of zeros stays zero, its gradient finite."""
    return x * (x.square().sum(dim=-1, keepdim=True) + 1e-6).rsqrt()
