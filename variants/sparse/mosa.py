"""Mixture of sparse attention: each head chooses the tokens that attend to each other."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_source
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, padding_of


@register_variant(
    name="mosa",
    family="sparse",
    patterns="ns",
    extended="ns",
    summary="each head chooses its tokens by a learned score and attends among them only",
    paper="Mixture of Sparse Attention: Content-Based Learnable Sparse Attention via "
    "Expert-Choice Routing (Piękos, Csordás, Schmidhuber)",
    year=2025,
    arxiv="2505.00315",
    time="N d^2 + N^2 d / sparsity^2",
    memory="N d + H N^2 / sparsity^2",
    sees="chosen",
    published_defaults="sparsity 2 to 256 at 1,024 tokens, together with 4 dense heads; here 4, "
    "without dense heads",
    added="2026-11-21",
)
class MoSAttention(MultiHeadAttention):
    r"""Softmax among the k tokens with the highest scores of a head, weighted by these scores.

    .. math:: r^h = \sigma(X w^h), \quad T^h = \operatorname{top-}k_t(r^h_t), \quad
              o^h_t = r^h_t \sum_{s \in T^h}
              \mathrm{softmax}_s(q^h_t \cdot k^h_s / \sqrt{E}) v^h_s \ \text{for } t \in T^h

    and 0 for other t; :math:`k = \max(2, \lfloor n / \rho \rfloor)`, as in the authors' code, for
    n unpadded tokens (1 for a single one), :math:`\rho` the sparsity. The weight :math:`r^h_t`
    gives the choice its gradient. The paper puts these heads beside a few dense ones, many more of
    them than here since each is cheap, and projects chosen tokens alone; here the heads are those
    of the slot.

    The paper trains a causal language model so, its softmax masked. Yet whether a head chooses
    token t depends on the scores of later tokens, so that its outputs show the future: CS
    is left out, and NS, where nothing is hidden, is offered instead.
    """

    @dataclass(frozen=True)
    class Config:
        """sparsity: a head chooses one token in so many, at least 2."""

        sparsity: int = 4

        def __post_init__(self) -> None:
            if self.sparsity < 1:
                raise ValueError("sparsity must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.router = nn.Linear(self.dim, self.heads, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Let each head choose tokens, mix them and put them back. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        q, k, v = (self.split_heads(project(x)) for project in (self.query, self.key, self.value))
        absent = padding_of(k, key_padding_mask)
        liking = self.router(x).mT.sigmoid()  # (B, H, N)

        tokens, sparsity = (~absent).sum(dim=-1), self.config.sparsity
        count = min(x.shape[1], max(2, x.shape[1] // sparsity))
        counts = (tokens // sparsity).clamp(min=2).minimum(tokens)
        best = liking.masked_fill(absent, -torch.inf).topk(count, dim=-1)
        # Rows that padding makes shorter choose fewer.
        spare = torch.arange(count, device=x.device) >= counts[..., None]  # (B, 1, k)
        index = best.indices[..., None].expand(-1, -1, -1, self.head_width)
        chosen = [part.gather(2, index) for part in (q / self.head_width**0.5, k, v)]
        mixed = attend_visible(*chosen, spare[:, :, None])
        weight = best.values.masked_fill(spare, 0.0)
        out = torch.zeros_like(q).scatter(2, index, mixed * weight[..., None])
        return self.output(self.merge_heads(out))
