"""SPT's sparse attention: keys chosen by the number of codewords shared with the query."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, padding_of


@register_variant(
    name="pq-topk",
    family="sparse",
    patterns="ns cs",
    extended="ns",
    summary="softmax over the keys that share the most codewords of a product quantiser with the "
    "query",
    paper="SPT: Fine-Tuning Transformer-based Language Models Efficiently with Sparsification "
    "(Gui et al.)",
    year=2023,
    arxiv="2312.10365",
    padding="distance",
    time="N^2 d",
    memory="N d",
    state="2 M E",
    sees="chosen",
    budget="keep",
    published_defaults="an eighth of 512 keys; here 16 keys, an eighth of 128, 4 codebooks of 16 "
    "codewords",
    added="2026-11-21",
)
class PQTopKAttention(CachedAttention):
    r"""Softmax over :math:`T_t`, the k visible keys of highest :math:`z_{ts}`.

    .. math:: c_m(x) = \arg\min_j \lVert x^{(m)} - \mu_{mj} \rVert, \quad
              z_{ts} = \sum_m [c_m(q_t) = c_m(k_s)], \quad
              o_t = \sum_{s \in T_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    :math:`x^{(m)}` is the m-th slice of x, whose codewords queries and keys share, per head. Of
    keys with equal z the nearer is taken, the earlier of two at the same distance. Codewords learn
    from the auxiliary loss :math:`\sum_m \lVert x^{(m)} - \mu_{m c_m(x)} \rVert^2`, which
    moves them alone; the choice has no gradient. The paper's kernels count matches of all pairs
    and multiply the chosen ones only; here all scores are computed too, in chunks of queries and
    again in the backward pass, so that memory is linear in length.
    """

    @dataclass(frozen=True)
    class Config:
        """keep: keys per query. chunk: queries at a time; it changes the cost, not the result."""

        keep: int = 16
        codebooks: int = 4
        codewords: int = 16
        chunk: int = 128

        def __post_init__(self) -> None:
            if min(self.keep, self.codebooks, self.codewords, self.chunk) < 1:
                raise ValueError("keep, codebooks, codewords and chunk must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        width = -(-self.head_width // self.config.codebooks)
        shape = self.heads, self.config.codebooks, self.config.codewords, width
        self.codewords = nn.Parameter(torch.randn(shape) / 2)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        absent = padding_of(k, key_padding_mask)
        asked, stored = self._codes(q), self._codes(k)
        if self.training:
            error = self._quantisation_error(q, k, asked, stored, absent)
            self.keep_auxiliary_loss(error)
        outputs = []
        for start in range(0, q.shape[2], self.config.chunk):
            rows = slice(start, start + self.config.chunk)
            # The last row of the chunk sees no key after its own position.
            last = k.shape[2] - q.shape[2] + min(start + self.config.chunk, q.shape[2])
            seen = slice(last if self.pattern.causal else None)
            outputs.append(
                checkpoint(
                    self._attend_rows,
                    *(q[:, :, rows], k[:, :, seen], v[:, :, seen]),
                    *(asked[:, :, rows], stored[:, :, seen], absent[..., seen], last),
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
            )
        return torch.cat(outputs, dim=2)

    def _attend_rows(
        self,
        q: Float[Tensor, "B H C E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        asked: Int[Tensor, "B H C m"],
        stored: Int[Tensor, "B H M m"],
        absent: Bool[Tensor, "B 1 M"],
        last: int,
    ) -> Float[Tensor, "B H C E"]:
        t = torch.arange(last - q.shape[2], last, device=q.device)[:, None]
        s = torch.arange(k.shape[2], device=q.device)
        hidden = absent[:, :, None]
        if self.pattern.causal:
            hidden = hidden | (s > t)
        # One number per key: matches first, then nearness, then the earlier of a pair.
        rank = (s < t).long() - 2 * (t - s).abs()
        for query_code, key_code in zip(asked.unbind(-1), stored.unbind(-1), strict=True):
            match = query_code[..., :, None] == key_code[..., None, :]
            rank = rank + match * (4 * k.shape[2])
        rank = rank.masked_fill(hidden, torch.iinfo(rank.dtype).min)
        keep = min(self.config.keep, k.shape[2])
        threshold = rank.topk(keep, dim=-1, sorted=True).values[..., -1:]
        return attend_visible(q / self.head_width**0.5, k, v, hidden | (rank < threshold))

    def _slices(self, x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H m N w"]:
        width = self.codewords.shape[-1]
        padded = F.pad(x, (0, self.config.codebooks * width - x.shape[-1]))
        return padded.unflatten(-1, (-1, width)).transpose(2, 3)

    @torch.no_grad()
    def _codes(self, x: Float[Tensor, "B H N E"]) -> Int[Tensor, "B H N m"]:
        """The nearest codeword of each slice."""
        products = self._slices(x) @ self.codewords.mT
        distance = self.codewords.square().sum(dim=-1)[:, :, None] - 2 * products
        return distance.argmin(dim=-1).transpose(2, 3)

    def _quantisation_error(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        asked: Int[Tensor, "B H N m"],
        stored: Int[Tensor, "B H M m"],
        absent: Bool[Tensor, "B 1 M"],
    ) -> Float[Tensor, ""]:
        """The error of quantising, which is the auxiliary loss."""
        x = self._slices(torch.cat((q, k), dim=2).detach())
        code = torch.cat((asked, stored), dim=2).transpose(2, 3)[..., None]
        nearest = self.codewords.expand(len(x), -1, -1, -1, -1).gather(
            3, code.expand(-1, -1, -1, -1, x.shape[-1])
        )
        error = (x - nearest).square().sum(dim=(1, 2, 4))
        absent = torch.cat((absent, absent), dim=2)[:, 0]
        tokens = (~absent).sum().clamp(min=1) * self.heads
        return error.masked_fill(absent, 0.0).sum() / tokens
