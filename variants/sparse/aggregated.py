"""TransNeXt's aggregated attention: a small window, the pooled image, and learned tokens."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_source
from cab.registry import register_variant
from cab.variants.sparse._blocks import weigh
from cab.variants.sparse._pictures import absent_places, to_picture


@register_variant(
    name="aggregated",
    family="sparse",
    patterns="ns",
    summary="cosine softmax over a window and the pooled image, plus learned window weights",
    paper="TransNeXt: Robust Foveal Visual Perception for Vision Transformers (Shi)",
    year=2023,
    arxiv="2311.17132",
    time="N d^2 + N (window^2 + cells^2) d",
    memory="N (window^2 + cells^2 + d)",
    needs_grid=True,
    published_defaults="window 3, the image pooled to 7 x 7 from up to 56 x 56 tokens; here "
    "window 3, 4 x 4 from 8 x 8 tokens, a layer norm without scale and bias",
    added="2026-11-21",
)
class AggregatedAttention(MultiHeadAttention):
    r"""One softmax over the window :math:`\rho(t)` and the pooled image, plus learned weights.

    .. math:: \bar x = \operatorname{LayerNorm}(\operatorname{pool}(\operatorname{GELU}(W x + w))),
              \quad (A_t, P_t) = \operatorname{softmax}(\lambda \ln m_t\, (\hat q_t + e)
              [\hat k_{\rho(t)} ; \hat{\bar k}]^\top), \quad
              o_t = (A_t + \hat q_t T + b)\, v_{\rho(t)} + P_t \bar v

    Hats are vectors of length 1; :math:`\bar k, \bar v` are keys and values of the pooled picture;
    :math:`m_t` counts what t sees. Each head learns e (its query's embedding), the temperature
    :math:`\lambda > 0`, and, for each place of the window, a column of T and a number of b. The
    paper's biases by relative position are left to the backbone, as all positions are, and its
    layer norm has no scale and bias here, which would exceed the parameter budget. Keys are met
    place by place of the window, so that none is gathered.
    """

    @dataclass(frozen=True)
    class Config:
        """window: places on a side, odd. cells: of the pooled picture, on a side."""

        window: int = 3
        cells: int = 4

        def __post_init__(self) -> None:
            if min(self.window, self.cells) < 1 or not self.window % 2:
                raise ValueError("window must be odd and cells at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        places, shape = self.config.window**2, (1, self.heads, 1)
        self.pooled = nn.Linear(self.dim, self.dim)
        self.embedding = nn.Parameter(0.02 * torch.randn(*shape, self.head_width))
        # softplus of it is 1 / 0.24, as in the paper.
        self.temperature = nn.Parameter(torch.full((*shape, 1), 1 / 0.24).expm1().log())
        self.tokens = nn.Parameter(0.02 * torch.randn(self.heads, self.head_width, places))
        self.bias = nn.Parameter(torch.zeros(*shape, places))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix the window and the pooled picture. See `Attention.forward`."""
        assert self.grid is not None
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        q, k, v = (self.split_heads(read(x)) for read in (self.query, self.key, self.value))
        absent = absent_places(k, key_padding_mask, self.grid)
        summary, empty = self._pool(x, absent)
        far_k, far_v = (self.split_heads(read(summary)) for read in (self.key, self.value))

        q, k, far_k = (F.normalize(part, dim=-1, eps=1e-6) for part in (q, k, far_k))
        keys, values = (self._places(part) for part in (k, v))
        gone = torch.stack(self._places(absent.flatten(2, 3), fill=True), dim=-1)[..., 0, :]
        seen = (~gone).sum(dim=-1, keepdim=True) + (~empty).sum(dim=-1, keepdim=True)
        asking = (q + self.embedding) * F.softplus(self.temperature)
        asking = asking * seen.clamp(min=1).to(q.dtype).log()
        scores = torch.stack([(asking * place).sum(dim=-1) for place in keys], dim=-1)
        near, far = weigh((scores, gone), (asking @ far_k.mT, empty))
        near = near + q @ self.tokens + self.bias
        mixed = far @ far_v
        for weight, place in zip(near.split(1, dim=-1), values, strict=True):
            mixed = mixed + weight * place
        return self.output(self.merge_heads(mixed))

    def _pool(
        self, x: Float[Tensor, "B N D"], absent: Bool[Tensor, "B 1 R C 1"]
    ) -> tuple[Float[Tensor, "B P D"], Bool[Tensor, "B 1 1 P"]]:
        """Return the pooled picture, and which of its cells hold no token."""
        assert self.grid is not None
        rows, columns = self.grid
        size = min(self.config.cells, rows), min(self.config.cells, columns)
        present = (~absent[..., 0]).to(x.dtype)
        picture = F.gelu(self.pooled(x)).mT.unflatten(2, self.grid) * present
        share = F.adaptive_avg_pool2d(present, size)
        means = F.adaptive_avg_pool2d(picture, size) / share.masked_fill(share == 0, 1.0)
        summary = F.layer_norm(means.flatten(2).mT, x.shape[-1:])
        return summary, share.flatten(2)[:, :, None] == 0

    def _places(self, x: Tensor, fill: bool = False) -> list[Tensor]:
        """For each place of the window, what stands there for each token (B, H, N, E)."""
        assert self.grid is not None
        rows, columns = self.grid
        beside = self.config.window // 2
        picture = F.pad(to_picture(x, self.grid), (0, 0, *[beside] * 4), value=fill)
        return [
            picture[:, :, down : down + rows, right : right + columns].flatten(2, 3)
            for down in range(self.config.window)
            for right in range(self.config.window)
        ]
