"""Softmax attention in chunks, recomputed in the backward pass: the same function as `softmax`."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cab.decoding import CachedAttention
from cab.registry import register_variant


@register_variant(
    name="chunked",
    family="softmax",
    patterns="ns cs nc cc",
    summary="softmax attention over chunks of queries and keys, recomputed in the backward pass",
    paper="Self-attention Does Not Need O(n^2) Memory (Rabe, Staats)",
    year=2021,
    arxiv="2112.05682",
    time="N^2 d",
    memory="N d",
    state="2 M E",
    exact=True,
    role="identity",
    published_defaults="query chunk 1,024, key chunk 4,096; here 128 and 128, for short lengths",
)
class ChunkedAttention(CachedAttention):
    r"""The formula of `softmax`, with running sums over chunks of keys.

    For one chunk of queries, with m the largest score so far, each chunk of keys adds to

    .. math:: n \leftarrow n e^{m - m'} + \sum_s e^{x_s - m'} v_s, \quad
              z \leftarrow z e^{m - m'} + \sum_s e^{x_s - m'}, \quad o = n / z

    Nothing of a query chunk is saved for the backward pass but its inputs. The paper keeps
    per-chunk sums and combines them at the end; here they are combined as they come.
    """

    @dataclass(frozen=True)
    class Config:
        """Chunk lengths in tokens."""

        query_chunk: int = 128
        key_chunk: int = 128

        def __post_init__(self) -> None:
            if min(self.query_chunk, self.key_chunk) < 1:
                raise ValueError("query_chunk and key_chunk must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o. In CS the queries are the last N of the M positions."""
        offset = k.shape[2] - q.shape[2]
        outputs = []
        for start in range(0, q.shape[2], self.config.query_chunk):
            rows = q[:, :, start : start + self.config.query_chunk]
            outputs.append(
                checkpoint(
                    self._attend_rows,
                    *(rows, k, v, key_padding_mask, start + offset),
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
            )
        return torch.cat(outputs, dim=2) if outputs else q

    def _attend_rows(
        self,
        q: Float[Tensor, "B H C E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None,
        first_position: int,
    ) -> Float[Tensor, "B H C E"]:
        rows, q = q.shape[2], q / self.head_width**0.5
        causal = self.pattern.causal and not self.pattern.cross
        last_key = min(k.shape[2], first_position + rows) if causal else k.shape[2]
        lowest = torch.finfo(q.dtype).min
        largest = q.new_full((*q.shape[:3], 1), lowest)
        numerator, denominator = torch.zeros_like(q), torch.zeros_like(largest)
        positions = torch.arange(first_position, first_position + rows, device=q.device)
        for start in range(0, last_key, self.config.key_chunk):
            stop = min(start + self.config.key_chunk, last_key)
            scores = q @ k[:, :, start:stop].mT
            hidden = torch.zeros(rows, stop - start, dtype=torch.bool, device=q.device)
            if causal:
                hidden = torch.arange(start, stop, device=q.device) > positions[:, None]
            if key_padding_mask is not None:
                hidden = hidden | key_padding_mask[:, None, None, start:stop]
            scores = scores.masked_fill(hidden, lowest)
            # The maximum only keeps the exponentials in range; the result does not depend on it.
            new_largest = torch.maximum(largest, scores.detach().amax(dim=-1, keepdim=True))
            shrink = (largest - new_largest).exp()
            weights = (scores - new_largest).exp().masked_fill(hidden, 0.0)
            numerator = numerator * shrink + weights @ v[:, :, start:stop]
            denominator = denominator * shrink + weights.sum(dim=-1, keepdim=True)
            largest = new_largest
        # A row that saw no key has sum 0 and gives 0; any other holds its largest weight, 1.
        return numerator / denominator.masked_fill(denominator == 0, 1.0)
