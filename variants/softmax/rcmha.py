"""Relative convolutional attention: queries, keys and values convolved, positions relative."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, read_decoding_context
from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


class ConvolvedCache(NamedTuple):
    """The decode state: convolved keys and values, and what the next convolution reaches."""

    k: Float[Tensor, "B H M E"]
    v: Float[Tensor, "B H M E"]
    recent: Float[Tensor, "B H qkv C E"]


@register_variant(
    name="rcmha",
    family="softmax",
    patterns="ns cs",
    extended="ns",
    summary="softmax attention with depthwise convolutions on queries, keys and values, and "
    "relative positions",
    paper="RCMHA: Relative Convolutional Multi-Head Attention for Natural Language Modelling "
    "(Sugiharto, Aradea, Mubarok)",
    year=2023,
    arxiv="2308.03429",
    padding="distance",
    time="N^2 d",
    memory="N^2",
    state="2 M E + 3 (kernel - 1) E",
    published_defaults="a kernel of 3 tokens; the same here, at any length",
    added="2026-11-21",
)
class RelativeConvolutionalAttention(DecodingAttention):
    r"""Convolve queries, keys and values; score by content and distance.

    .. math:: \bar q_t = \sum_i c^q_i \odot q_{t-i}, \quad
              x_{ts} = \frac{(\bar q_t + u) \cdot \bar k_s + (\bar q_t + w) \cdot W_r R_{t-s}}
              {\sqrt{E}}, \quad o_t = \sum_{s \in V_t} \mathrm{softmax}_s(x_{ts}) \bar v_s

    :math:`\bar k` and :math:`\bar v` have kernels of their own, each shared by the heads; u and w
    are learned for each head, R are sines and cosines of the distance. V_t are the unpadded
    positions; in CS those up to t, and kernels reach back alone. In NS, which the paper
    does not have, they are centred. Distances are encoded as in Transformer-XL, which the paper
    builds on; its code learns a vector for each of 8,192 distances and head instead, more
    parameters than the rest of the layer. The convolutions have no bias here.
    """

    @dataclass(frozen=True)
    class Config:
        """kernel: tokens that each convolution reaches."""

        kernel: int = 3

        def __post_init__(self) -> None:
            if self.kernel < 1:
                raise ValueError("kernel must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        # One depthwise convolution for queries, keys and values: 3 E channels.
        channels = 3 * self.head_width
        self.convolution = nn.Conv1d(
            channels, channels, self.config.kernel, groups=channels, bias=False
        )
        self.distance = nn.Linear(self.dim, self.dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(self.heads, 1, self.head_width))
        self.distance_bias = nn.Parameter(torch.zeros(self.heads, 1, self.head_width))

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Convolve and weigh; 0 for a query that sees nothing. Padded tokens come as zeros."""
        reach = self.config.kernel - 1
        before = reach if self.pattern == Pattern.CS else reach // 2
        tokens = F.pad(torch.stack((q, k, v), dim=2), (0, 0, before, reach - before))
        return self._weigh(*self._convolve(tokens), key_padding_mask)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> ConvolvedCache:
        """Return the empty cache, with zeros before the first token."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        empty = self.key.weight.new_zeros(batch, self.heads, 0, self.head_width)
        recent = empty.new_zeros(batch, self.heads, 3, self.config.kernel - 1, self.head_width)
        return ConvolvedCache(empty, empty, recent)

    def step(
        self, x: Float[Tensor, "B D"], state: ConvolvedCache
    ) -> tuple[Float[Tensor, "B D"], ConvolvedCache]:
        """Convolve the token with those before it, append it, and answer it."""
        token = x[:, None]
        parts = [self.split_heads(read(token)) for read in (self.query, self.key, self.value)]
        window = torch.cat((state.recent, torch.stack(parts, dim=2)), dim=3)
        q, k, v = self._convolve(window)
        k, v = torch.cat((state.k, k), dim=2), torch.cat((state.v, v), dim=2)
        mixed = self._weigh(q, k, v)
        state = ConvolvedCache(k, v, window[:, :, :, 1:])
        return self.output(self.merge_heads(mixed))[:, 0], state

    def _convolve(self, tokens: Float[Tensor, "B H qkv L E"]) -> tuple[Tensor, ...]:
        """Return queries, keys and values (B, H, N, E), where L is N and the kernel's reach."""
        channels = tokens.transpose(3, 4).flatten(2, 3)
        out = self.convolution(channels.flatten(0, 1)).unflatten(0, channels.shape[:2])
        return out.unflatten(2, (3, -1)).transpose(3, 4).unbind(dim=2)

    def _weigh(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o. In CS the queries are the last N of the M positions."""
        queries, keys = q.shape[2], k.shape[2]
        distances = torch.arange(keys - 1, -queries, -1, device=q.device)
        encoded = self.distance(_sinusoids(distances, self.dim).to(self.distance.weight.dtype))
        scores = _by_pair((q + self.distance_bias) @ self.split_heads(encoded[None]).mT, keys)
        scores = (scores + (q + self.content_bias) @ k.mT) / self.head_width**0.5
        hidden = hidden_pairs(
            q, k, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
        return masked_softmax(scores, hidden) @ v


def _sinusoids(distances: Tensor, width: int) -> Float[Tensor, "L D"]:
    """Return sines and cosines of integer distances at wavelengths from 2 pi to 20,000 pi."""
    rates = torch.arange(0, width, 2, dtype=torch.float64, device=distances.device)
    angles = distances[:, None] * (-math.log(10_000) * rates / width).exp()
    return torch.cat((angles.sin(), angles.cos()), dim=-1)[:, :width]


def _by_pair(scores: Float[Tensor, "B H N L"], keys: int) -> Float[Tensor, "B H N M"]:
    """Turn columns of distances, from M - 1 down to 1 - N, into columns of keys.

    The last query finds its first key in the first column, the query before it in the second, and
    so on: in flat scores of L + 1 columns these places stand L apart.
    """
    queries, columns = scores.shape[-2:]
    flat = F.pad(scores, (0, 1)).flatten(-2)[..., queries - 1 :]
    return flat[..., : queries * columns].unflatten(-1, (queries, columns))[..., :keys]
