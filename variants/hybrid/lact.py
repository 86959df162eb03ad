"""LaCT: a small network trained on large chunks of tokens, beside attention within a window."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_decoding_context, read_source
from cab.kernels.window.chunked import window_attention
from cab.registry import register_variant
from cab.variants.hybrid._fast_weights import (
    FastState,
    ask_and_learn,
    ask_at_once,
    ask_by_chunks,
)


@register_variant(
    name="lact",
    family="hybrid",
    patterns="ns cs",
    summary="a SwiGLU network per head, trained on large chunks of tokens with momentum, and "
    "attention within a window",
    paper="Test-Time Training Done Right (Zhang et al.)",
    year=2025,
    arxiv="2505.23884",
    padding="position",
    time="N d (d + window)",
    memory="N (d + window)",
    state="9 expand E^2 + 2 window E + 1 + 1 / H",
    published_defaults="chunks and windows of 2,048 in 32,768 tokens, a sixteenth, here 32 in 128 "
    "to 256, a quarter to an eighth; first weights of rank 32 at a head width of 384 in language "
    "models, here 2 at 16; rates of 0.001 a token, which is 2 a chunk, as here; hidden layers as "
    "wide as a head, as here; momentum alone or with Muon, here alone; 4 heads of the network and "
    "more of the window, here as many; rotary positions, here none",
    added="2026-11-30",
)
class LargeChunkTraining(MultiHeadAttention):
    r"""Ask a network f of each head that has been trained on the chunks before.

    .. math:: f(x; W) = W_1 (\mathrm{SiLU}(W_0 x) \odot W_2 x), \quad
              o_t = \mathrm{SiLU}(w_s \cdot x_t) \mathrm{RMSNorm}(f(q_t; W)) + a_t, \quad
              y = W_o o

    .. math:: G \leftarrow \bar\beta G - \sum_s \eta_s \nabla_W (-f(k_s; W) \cdot v_s), \quad
              W \leftarrow \mathrm{rows}(W + G)

    In CS the tokens s are those of the chunk that has just ended, so that a token asks what
    earlier chunks have taught, and G is kept as a momentum. In NS they are all tokens, and W
    changes once, before it is asked. Each of W_0, W_1, W_2 has a rate :math:`\eta =
    \mathrm{softplus}(w_\eta \cdot x + c)` per token and head, and :math:`\bar\beta` is the mean of
    :math:`\sigma(w_\beta \cdot x + b)` over the chunk; rows gives each row of W its norm before
    training. q, k and v pass SiLU, and q and k are divided by their norms. a is softmax attention
    over the last w tokens (in NS also over the next) with the same projections before SiLU, q and
    k scaled and shifted per channel. The first W are learned by the outer loop: W_1 in full, W_0
    and W_2 as half of the unit matrix plus a product of low rank. Training is not linear in W, so
    the code loops over chunks.

    With `muon` W changes by G made nearly orthogonal, in five steps of Newton and Schulz, as in
    the paper's best models. It is not the default: each such step is about as large as W, so that
    before training rounding errors grow by about half per chunk. The paper has 16 chunks; after 30
    float32 is off by a tenth.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk, window: in tokens. expand: hidden width of f over E. rank: of W_0 and W_2.

        rate: eta at the start. muon: whether G is made orthogonal before W changes by it.
        """

        chunk: int = 32
        window: int = 32
        expand: int = 1
        rank: int = 2
        rate: float = 0.0625
        muon: bool = False

        def __post_init__(self) -> None:
            if min(self.chunk, self.window, self.expand, self.rank) < 1 or self.rate <= 0:
                raise ValueError(
                    "chunk, window, expand and rank must be at least 1 and rate positive"
                )
            if self.window < self.chunk:
                raise ValueError(
                    "window must be at least chunk, or tokens of the same chunk are not seen"
                )

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        heads, width, rank = self.heads, self.head_width, self.config.rank
        hidden = self.config.expand * width
        self.left = nn.Parameter(torch.randn(heads, 2, hidden, rank) * 0.5 / rank**0.5)
        self.right = nn.Parameter(torch.randn(heads, 2, rank, width) * 0.5 / width**0.5)
        self.down = nn.Parameter(torch.randn(heads, 1, hidden, width) / hidden**0.5)
        self.rates = nn.Linear(self.dim, 3 * heads, bias=False)
        self.first_rate = math.log(math.expm1(self.config.rate))
        self.momentum = nn.Linear(self.dim, heads) if self.pattern.causal else None
        self.strength = nn.Linear(self.dim, heads)
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.scale = nn.Parameter(torch.ones(2, self.dim))
        self.shift = nn.Parameter(torch.zeros(2, self.dim))

    def no_weight_decay(self) -> set[str]:
        """Name the vectors that scale and shift queries and keys."""
        return {"scale", "shift"}

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Train and ask chunk by chunk; padded tokens have rates of 0."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        near, far = self._read(x)
        attended = window_attention(
            *near,
            window=self.config.window,
            causal=self.pattern.causal,
            key_padding_mask=key_padding_mask,
        )
        q, k, v, rates, *kept = far
        if key_padding_mask is not None:
            rates = rates.masked_fill(key_padding_mask[:, None, :, None], 0.0)
        start, muon = self._start(), self.config.muon
        if self.pattern.causal:
            asked = ask_by_chunks(q, k, v, rates, *kept, start, self.config.chunk, muon)
        else:
            asked = ask_at_once(q, k, v, rates, start, muon)
        return self._write(asked, attended, x)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> FastState:
        """Return the network that the outer loop learned, and an empty window."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        like = self.query.weight
        start = self._start().to(torch.promote_types(like.dtype, torch.float32))
        start = start.expand(batch, -1, -1, -1, -1)
        nothing = torch.zeros_like(start)
        empty = like.new_zeros(batch, self.heads, self.config.window, self.head_width)
        length = torch.zeros(batch, 1, dtype=torch.long, device=like.device)
        return FastState(start, nothing, nothing, nothing[:, :, 0, 0, 0], empty, empty, length)

    def step(
        self, x: Float[Tensor, "B D"], state: FastState
    ) -> tuple[Float[Tensor, "B D"], FastState]:
        """Ask, and learn at the end of a chunk. See `Attention.step`."""
        token = x[:, None]
        (q, k, v), far = self._read(token)
        keys = torch.cat((state.keys, k), dim=2)[:, :, 1:]
        values = torch.cat((state.values, v), dim=2)[:, :, 1:]
        length = state.length + 1
        place = torch.arange(self.config.window, device=x.device)
        seen = place >= self.config.window - length
        attended = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen[:, None, None])
        asked, *learned = ask_and_learn(
            *far, state, self._start(), length, self.config.chunk, self.config.muon
        )
        out = self._write(asked, attended, token)[:, 0]
        return out, FastState(*learned, keys=keys, values=values, length=length)

    def _start(self) -> Float[Tensor, "H 3 F E"]:
        """Return W_0, W_2 and the transpose of W_1 before all training."""
        identity = torch.eye(*self.down.shape[-2:], dtype=self.down.dtype, device=self.down.device)
        return torch.cat((self.left @ self.right + 0.5 * identity, self.down), dim=1)

    def _read(self, x: Float[Tensor, "B N D"]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return q, k, v of the window; q, k, v, the rates and, in CS, the kept momentum of f."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        near = (q * self.scale[0] + self.shift[0], k * self.scale[1] + self.shift[1], v)
        far = (_unit(self.split_heads(F.silu(part))) for part in (q, k))
        rates = F.softplus(self.rates(x) + self.first_rate)
        rates = rates.unflatten(-1, (self.heads, 3)).transpose(1, 2)
        kept = () if self.momentum is None else (self.momentum(x).sigmoid().mT,)
        values = self.split_heads(F.silu(v))
        return tuple(map(self.split_heads, near)), (*far, values, rates, *kept)

    def _write(
        self, asked: Float[Tensor, "B H N E"], attended: Float[Tensor, "B H N E"], x: Tensor
    ) -> Float[Tensor, "B N D"]:
        strength = F.silu(self.strength(x)).mT[..., None]
        mixed = strength * self.norm(asked.to(self.norm.weight.dtype)) + attended
        return self.output(self.merge_heads(mixed.to(x.dtype)))


def _unit(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N E"]:
    """Divide by the Euclidean norm, softly: zeros stay zeros, with a finite gradient."""
    return x * (x.square().sum(dim=-1, keepdim=True) + 1e-10).rsqrt()
