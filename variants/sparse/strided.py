"""Strided attention of the Sparse Transformer: near tokens, and every l-th token."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import CachedAttention, KeyValueCache
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, band, cut, join, padding_of, weigh


@register_variant(
    name="strided",
    family="sparse",
    patterns="ns cs",
    extended="ns",
    summary="softmax over the nearby tokens and those at multiples of `stride` from the query",
    paper="Generating Long Sequences with Sparse Transformers (Child, Gray, Radford, Sutskever)",
    year=2019,
    arxiv="1904.10509",
    padding="distance",
    time="N (stride + N / stride) d",
    memory="N (stride + N / stride)",
    state="2 M E",
    sees="abs(t - s) < stride or (t - s) % stride == 0",
    published_defaults="stride 128 at 12,160 tokens, near the square root of the length; here 8, "
    "the square root of 64",
    added="2026-11-21",
)
class StridedAttention(CachedAttention):
    r"""Softmax over two sets of keys: :math:`V_t = \{s : |t - s| < l\} \cup \{s : l \mid t - s\}`,
    and in CS also :math:`s \le t`.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    Both sets are in one softmax, the paper's "merged" head; it also alternates them over layers
    or heads. With l near :math:`\sqrt{N}` the cost is :math:`N^{1.5}`. The second set needs no
    gathering: tokens with the same remainder attend to each other, N / l of them at a time.
    """

    @dataclass(frozen=True)
    class Config:
        """stride: l above."""

        stride: int = 8

        def __post_init__(self) -> None:
            if self.stride < 1:
                raise ValueError("stride must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query that sees only padding gets 0."""
        length, q = q.shape[2], q / self.head_width**0.5
        stride, absent = min(self.config.stride, length), padding_of(k, key_padding_mask)
        near, near_hidden, near_values = band(q, k, v, absent, stride, self.pattern.causal)
        # (B, H, l, N / l, E): one row of tokens per remainder.
        queries, keys, values = (cut(x, 2, stride).transpose(2, 3) for x in (q, k, v))
        far = (queries @ keys.mT).transpose(2, 3)  # (B, H, N / l, l, N / l), as `near` begins
        multiple = torch.arange(far.shape[2], device=q.device)
        multiple = multiple[:, None] - multiple
        # Distance 0 is among the near keys already.
        other = (multiple <= 0) if self.pattern.causal else (multiple == 0)
        absent = cut(absent, 2, stride, fill=True).transpose(2, 3)[:, :, None]
        near_weights, far_weights = weigh((near, near_hidden), (far, other[:, None] | absent))
        mixed = near_weights @ near_values
        mixed = mixed + (far_weights.transpose(2, 3) @ values).transpose(2, 3)
        return join(mixed, 2, length)

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the keys of the cache that the newest token sees."""
        distance = torch.arange(state.k.shape[2], device=q.device).flip(0)
        seen = (distance < self.config.stride) | (distance % self.config.stride == 0)
        return attend_visible(q / self.head_width**0.5, state.k, state.v, ~seen)
