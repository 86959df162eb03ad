"""LongVQ: Mega with vector-quantised keys, which a codebook sums up beyond the near blocks."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.diagonal import diagonal_step
from cab.kernels.linear.precision import at_least_float32, in_float32
from cab.registry import register_variant
from cab.variants.hybrid._masked import masked_softmax
from cab.variants.hybrid._mega import MegaAttention


class CodeState(NamedTuple):
    """The decode state: averages, the near keys and values, and sums of the others by code."""

    averages: Float[Tensor, "B D h"]
    k: Float[Tensor, "B M Z"]
    v: Float[Tensor, "B M V"]
    counts: Float[Tensor, "B S 1"]
    sums: Float[Tensor, "B S V"]


@register_variant(
    name="longvq",
    family="hybrid",
    patterns="ns cs",
    summary="exponential moving average, then gated attention to quantised keys: near ones with "
    "biases, all others through a codebook",
    paper="LongVQ: Long Sequence Modeling with Vector Quantization on Structured Memory (Liu, "
    "Wang, Li, Wang, Lin, Li)",
    year=2024,
    arxiv="2404.11163",
    padding="position",
    time="N d (d + block + codes)",
    memory="N (d + block + codes + codes d / block)",
    state="(min(M, M % block + block) (max(1, d // 4) + max(1, d // 2)) + "
    "codes (max(1, d // 2) + 1) + d averages) / H",
    gradients="estimated",
    published_defaults="codebooks for thousands of tokens; here 32 codes and blocks of 16 for "
    "128; sizes, averages and their start as in `mega-chunk`",
    added="2026-11-30",
)
class LongVQ(MegaAttention):
    r"""`mega`, whose keys are replaced by the nearest of S learned codes c.

    .. math:: \hat k_s = c_{z_s}, \quad z_s = \arg\min_j \lVert k_s - c_j \rVert^2, \quad
              o_t = \sum_s \mathrm{softmax}_s(q_t \cdot \hat k_s / \sqrt{Z} + b_{s - t}) v_s

    The sum is over all visible tokens. The bias b is 0 but for the tokens of t's own block and the
    blocks beside it, in CS the one before. Those are read one by one. The others' weights depend
    on their code only, so that they enter as S keys, each with the number of its tokens and the
    sum of their values:

    .. math:: \sum_{s \text{ far}} e^{q_t \cdot \hat k_s / \sqrt{Z}} v_s =
              \sum_j e^{q_t \cdot c_j / \sqrt{Z}} \sum_{s \text{ far}, z_s = j} v_s

    This takes linear time and, in decoding, constant memory. Keys pass the quantisation straight
    through: the gradient of :math:`\hat k` goes to k, whence the estimated gradients. In training
    an auxiliary loss :math:`\lVert \mathrm{sg}(k) - \hat k \rVert^2 + \beta \lVert k -
    \mathrm{sg}(\hat k) \rVert^2` moves codes to keys and keys to codes. The moving average, the
    gates and the single head are Mega's. The output is as `mega` gives it.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens. codes: S. averages: per channel. commitment: beta."""

        block: int = 16
        codes: int = 32
        averages: int = 8
        commitment: float = 0.25

        def __post_init__(self) -> None:
            if min(self.block, self.codes, self.averages) < 1 or self.commitment < 0:
                raise ValueError(
                    "block, codes and averages must be at least 1 and commitment at least 0"
                )

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        config = config or self.Config()
        super().__init__(config, 2 * config.block, config.averages, **geometry)
        self.codes = nn.Parameter(torch.randn(config.codes, self.widths[1]) * 0.02)

    def no_weight_decay(self) -> set[str]:
        """Name the codes as well."""
        return super().no_weight_decay() | {"codes"}

    def meet(
        self,
        q: Float[Tensor, "B N Z"],
        k: Float[Tensor, "B N Z"],
        v: Float[Tensor, "B N V"],
        absent: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N V"]:
        """Attend to the near keys and, through the codes, to all others."""
        code = _nearest(k, self.codes)
        if self.training:
            self._pull(k, code, ~absent)
        return at_least_float32(self._meet)(q, k, v, absent, code, self.codes)

    def _meet(
        self,
        q: Float[Tensor, "B N Z"],
        k: Float[Tensor, "B N Z"],
        v: Float[Tensor, "B N V"],
        absent: Bool[Tensor, "B N"],
        code: Int[Tensor, "B N"],
        codes: Float[Tensor, "S Z"],
    ) -> Float[Tensor, "B N V"]:
        length, block, causal = q.shape[1], self.config.block, self.pattern.causal
        k = k + (codes[code] - k).detach()
        missing = -length % block
        q, k, v = (F.pad(x, (0, 0, 0, missing)) for x in (q, k, v))
        absent = F.pad(absent, (0, missing), value=True)
        code = F.pad(code, (0, missing))
        sides = block, 0 if causal else block
        width = block + sum(sides)
        keys, values = (F.pad(x, (0, 0, *sides)).unfold(1, width, block).mT for x in (k, v))
        gone = F.pad(absent, sides, value=True).unfold(1, width, block)[..., None, :]
        q = q.unflatten(1, (-1, block))
        near = self._near(q, keys, gone, block)

        member = F.one_hot(code, len(codes)).masked_fill(absent[..., None], 0).to(v.dtype)
        member = member.unflatten(1, (-1, block))
        counts, sums = (
            _far(member.sum(dim=2)[..., None], causal),
            _far(member.mT @ v.unflatten(1, (-1, block)), causal),
        )
        return _attend(q, codes, near, values, counts, sums).flatten(1, 2)[:, :length]

    def _near(
        self,
        q: Float[Tensor, "*B R Z"],
        k: Float[Tensor, "*B C Z"],
        absent: Bool[Tensor, "*B 1 C"],
        before: int,
    ) -> tuple[Float[Tensor, "*B R C"], Bool[Tensor, "*B R C"]]:
        """Return scores with biases, and what is hidden; `before` keys precede the queries."""
        here = torch.arange(q.shape[-2], device=q.device)[:, None]
        ahead = torch.arange(k.shape[-2], device=q.device) - before - here
        bias = self.bias.to(q.dtype)[(ahead + self.distances - 1).clamp(0, len(self.bias) - 1)]
        scores = (q / self.widths[1] ** 0.5) @ k.mT + bias
        hidden = absent.expand(scores.shape)
        return scores, hidden | (ahead > 0) if self.pattern.causal else hidden

    def _pull(
        self, k: Float[Tensor, "B N Z"], code: Int[Tensor, "B N"], present: Bool[Tensor, "B N"]
    ) -> None:
        """Keep the auxiliary loss, a mean over the unpadded tokens and the width."""
        nearest, share = self.codes[code], present / present.sum().clamp(min=1)
        moved = (k.detach() - nearest).square().mean(dim=-1)
        held = (k - nearest.detach()).square().mean(dim=-1)
        self.keep_auxiliary_loss((share * (moved + self.config.commitment * held)).sum())

    def initial_state(  # type: ignore[override]
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> CodeState:
        """Return averages of nothing, no keys, and codes without tokens."""
        start = super().initial_state(batch, context, key_padding_mask=key_padding_mask)
        empty = start.averages.new_zeros(batch, self.config.codes, self.widths[2])
        return CodeState(*start, empty[..., :1], empty)

    def step(  # type: ignore[override]
        self, x: Float[Tensor, "B D"], state: CodeState
    ) -> tuple[Float[Tensor, "B D"], CodeState]:
        """Update the averages, add a key, attend with one query. See `Attention.step`."""
        log_pole, weight = self.average.poles()
        y, averages = diagonal_step(state.averages, x, log_pole[0], weight[0])
        token = x[:, None]
        update, q, k, reset, hidden = self._read(token, y[:, None])
        k = torch.cat((state.k, self.codes[_nearest(k, self.codes)]), dim=1)
        v = torch.cat((state.v, F.silu(self.value(token))), dim=1)
        mixed = at_least_float32(self._answer)(q, k, v, state.counts, state.sums, self.codes)
        out = self._write(token, update, mixed * reset, hidden)[:, 0]
        if k.shape[1] < 2 * self.config.block:
            return out, CodeState(averages, k, v, state.counts, state.sums)
        first, last = (x.split(self.config.block, dim=1) for x in (k, v))
        counts, sums = _store(first[0], last[0], state.counts, state.sums, self.codes)
        return out, CodeState(averages, first[1], last[1], counts, sums)

    def _answer(
        self,
        q: Float[Tensor, "B 1 Z"],
        k: Float[Tensor, "B M Z"],
        v: Float[Tensor, "B M V"],
        counts: Float[Tensor, "B S 1"],
        sums: Float[Tensor, "B S V"],
        codes: Float[Tensor, "S Z"],
    ) -> Float[Tensor, "B 1 V"]:
        """Attend with the newest query."""
        nothing = torch.zeros_like(k[..., None, :, 0], dtype=torch.bool)
        near = self._near(q, k, nothing, k.shape[1] - 1)
        return _attend(q, codes, near, v, counts, sums)


@torch.no_grad()
@in_float32
def _nearest(k: Float[Tensor, "B N Z"], codes: Float[Tensor, "S Z"]) -> Int[Tensor, "B N"]:
    """Return the number of each key's nearest code."""
    return (codes.square().sum(dim=-1) - 2 * k @ codes.mT).argmin(dim=-1)


@in_float32
def _store(
    k: Float[Tensor, "B C Z"],
    v: Float[Tensor, "B C V"],
    counts: Float[Tensor, "B S 1"],
    sums: Float[Tensor, "B S V"],
    codes: Float[Tensor, "S Z"],
) -> tuple[Float[Tensor, "B S 1"], Float[Tensor, "B S V"]]:
    """Add a block of quantised keys and their values to the sums."""
    member = F.one_hot(_nearest(k, codes), len(codes)).to(v.dtype)
    return counts + member.sum(dim=1)[..., None], sums + member.mT @ v


def _far(x: Float[Tensor, "B n S V"], causal: bool) -> Float[Tensor, "B n S V"]:
    """Return for each block the sum over the blocks that are not beside it, in CS the earlier."""
    before = F.pad(x.cumsum(dim=1), (0, 0, 0, 0, 2, 0))[:, : x.shape[1]]
    if causal:
        return before
    after = F.pad(x.flip(1).cumsum(dim=1), (0, 0, 0, 0, 2, 0))[:, : x.shape[1]].flip(1)
    return before + after


def _attend(
    q: Float[Tensor, "*B R Z"],
    codes: Float[Tensor, "S Z"],
    near: tuple[Float[Tensor, "*B R C"], Bool[Tensor, "*B R C"]],
    values: Float[Tensor, "*B C V"],
    counts: Float[Tensor, "*B S 1"],
    sums: Float[Tensor, "*B S V"],
) -> Float[Tensor, "*B R V"]:
    """One softmax over the near keys and over the codes, each as often as it has far tokens."""
    tokens = counts.clamp(min=1)
    far = (q / q.shape[-1] ** 0.5) @ codes.mT + tokens.log().mT
    empty = (counts == 0).mT.expand(far.shape)
    scores, hidden = (torch.cat(pair, dim=-1) for pair in zip(near, (far, empty), strict=True))
    weights = masked_softmax(scores, hidden)
    close, distant = weights.split([values.shape[-2], len(codes)], dim=-1)
    return close @ values + distant @ (sums / tokens)
