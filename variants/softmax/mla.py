"""Multi-head latent attention: keys and values of all heads from one short vector per token."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_decoding_context, read_source
from cab.kernels.linear.rotation import rotate
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


class LatentCache(NamedTuple):
    """The decode state: a latent vector and a shared key for each token, and the padding."""

    latent: Float[Tensor, "B M C"]
    shared: Float[Tensor, "B M R"]
    key_padding_mask: Bool[Tensor, "B M"]


@register_variant(
    name="mla",
    family="softmax",
    patterns="ns cs nc cc",
    extended="ns nc cc",
    summary="softmax attention whose keys and values are made from one latent vector per token",
    paper="DeepSeek-V2: A Strong, Economical, and Efficient Mixture-of-Experts Language Model "
    "(DeepSeek-AI)",
    year=2024,
    arxiv="2405.04434",
    padding="distance",
    time="N M d",
    memory="N M",
    state="M (ceil(latent d) + max(2, E // 2)) / H",
    published_defaults="latent vectors 4 heads wide, a tenth of the model width, with 128 heads; "
    "here half of the model width, which keeps the layer near softmax's size; a shared key of "
    "half a head's width, as here; queries from a latent vector of their own, here direct, as in "
    "the paper's Lite model",
    added="2026-11-30",
    used_by=(
        ("DeepSeek-V2", "https://arxiv.org/abs/2405.04434"),
        ("Kimi Linear", "https://arxiv.org/abs/2510.26692"),
        ("GLM-5", "https://arxiv.org/abs/2602.15763"),
        ("Kimi K3", "https://github.com/vllm-project/vllm-ascend/pull/12950"),
    ),
)
class MultiHeadLatentAttention(Attention):
    r"""Compress each token to :math:`c_s`, from which every head makes its key and value.

    .. math:: c_s = \mathrm{RMSNorm}(W_c z_s), \quad k_s^h = [U_k^h c_s; R^s W_r z_s], \quad
              v_s^h = U_v^h c_s, \quad q_t^h = [W_q^h x_t; R^t W_p^h x_t]

    .. math:: o_t^h = \sum_{s \in V_t} \mathrm{softmax}_s(q_t^h \cdot k_s^h / \sqrt{E + r}) v_s^h

    z is the stream (self) or the context (cross); V_t are its unpadded positions, up to t in CS.
    The second part of a key, r channels wide, belongs to all heads and is rotated by its position
    (R, as in `rope`), apart from the first, so that a query times :math:`U_k` reads the latent
    vectors themselves: decoding keeps nothing but :math:`c_s` and the shared key. Between a stream
    and a context there is no distance, so that in the cross patterns nothing is rotated. The paper
    is causal self attention.
    """

    @dataclass(frozen=True)
    class Config:
        """latent: width of the latent vectors, as a part of the model width."""

        latent: float = 0.5

        def __post_init__(self) -> None:
            if not 0 < self.latent <= 1:
                raise ValueError("latent must be above 0 and at most 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.head_width = self.dim // self.heads
        latent, shared = math.ceil(self.config.latent * self.dim), max(2, self.head_width // 2)
        self.parts = (self.head_width, shared)
        self.query = nn.Linear(self.dim, self.heads * sum(self.parts), bias=False)
        self.compress = nn.Linear(self.dim, latent, bias=False)
        self.norm = nn.RMSNorm(latent, eps=1e-6)
        self.shared_key = nn.Linear(self.dim, shared, bias=False)
        self.key = nn.Linear(latent, self.dim, bias=False)
        self.value = nn.Linear(latent, self.dim, bias=False)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Make all keys and values and attend. See `Attention.forward`."""
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        content, turned = self._queries(x, 0)
        latent, shared = self._latents(source, 0)
        k, v = (
            part(latent).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.key, self.value)
        )
        weights = self._weights(content, k, turned, shared, key_padding_mask)
        return self.output((weights @ v).transpose(1, 2).flatten(-2))

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> LatentCache:
        """Compress the context (CC), or nothing (CS). See `Attention.initial_state`."""
        context = read_decoding_context(self.pattern, context, key_padding_mask)
        if context is None:
            context = self.query.weight.new_zeros(batch, 0, self.dim)
        if key_padding_mask is None:
            key_padding_mask = context.new_zeros(context.shape[:2], dtype=torch.bool)
        return LatentCache(*self._latents(context, 0), key_padding_mask)

    def step(
        self, x: Float[Tensor, "B D"], state: LatentCache
    ) -> tuple[Float[Tensor, "B D"], LatentCache]:
        """Append the token (CS only) and answer it. See `Attention.step`."""
        y, state = self.prefill(x[:, None], state)
        return y[:, 0], state

    def prefill(
        self, x: Float[Tensor, "B N D"], state: LatentCache
    ) -> tuple[Float[Tensor, "B N D"], LatentCache]:
        """Answer from the latent vectors, without keys and values of heads.

        A query is multiplied by U_k, and what a head reads of the latent vectors by U_v.
        """
        if not x.shape[1]:
            return x, state
        start = 0 if self.pattern.cross else state.latent.shape[1]
        if not self.pattern.cross:
            latent, shared = self._latents(x, start)
            seen = state.key_padding_mask.new_zeros(x.shape[:2])
            state = LatentCache(
                torch.cat((state.latent, latent), dim=1),
                torch.cat((state.shared, shared), dim=1),
                torch.cat((state.key_padding_mask, seen), dim=1),
            )
        content, turned = self._queries(x, start)
        k, v = (part.weight.unflatten(0, (self.heads, -1)) for part in (self.key, self.value))
        latent = state.latent[:, None]
        weights = self._weights(content @ k, latent, turned, state.shared, state.key_padding_mask)
        mixed = (weights @ latent) @ v.mT
        return self.output(mixed.transpose(1, 2).flatten(-2)), state

    def _queries(
        self, x: Float[Tensor, "B N D"], start: int
    ) -> tuple[Float[Tensor, "B H N E"], Float[Tensor, "B H N R"]]:
        """Return both parts of the queries, of tokens from position `start` on."""
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        content, turned = q.split(self.parts, dim=-1)
        return content, self._turn(turned, start)

    def _latents(
        self, z: Float[Tensor, "B M D"], start: int
    ) -> tuple[Float[Tensor, "B M C"], Float[Tensor, "B M R"]]:
        """Return the latent vectors and shared keys of tokens from position `start` on."""
        return self.norm(self.compress(z)), self._turn(self.shared_key(z)[:, None], start)[:, 0]

    def _turn(self, x: Float[Tensor, "B _ N R"], start: int) -> Float[Tensor, "B _ N R"]:
        if self.pattern.cross:
            return x
        positions = torch.arange(start, start + x.shape[2], device=x.device, dtype=torch.float64)
        return rotate(x, positions).to(x.dtype)

    def _weights(
        self,
        q: Float[Tensor, "B H N F"],
        k: Float[Tensor, "B _ M F"],
        turned: Float[Tensor, "B H N R"],
        shared: Float[Tensor, "B M R"],
        key_padding_mask: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "B H N M"]:
        """Return the softmax weights. In CS the queries are the last N of the M positions."""
        scores = (q @ k.mT + turned @ shared[:, None].mT) / sum(self.parts) ** 0.5
        causal = self.pattern == Pattern.CS
        hidden = hidden_pairs(q, k, causal=causal, key_padding_mask=key_padding_mask)
        return masked_softmax(scores, hidden)
