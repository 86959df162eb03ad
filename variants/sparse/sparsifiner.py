"""Sparsifiner: a low-rank prediction of the attention map selects the pairs."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import padding_of, weigh


@register_variant(
    name="sparsifiner",
    family="sparse",
    patterns="ns",
    summary="softmax over the keys that a learned low-rank predictor of the scores ranks highest",
    paper="Sparsifiner: Learning Sparse Instance-Dependent Attention for Efficient Vision "
    "Transformers (Wei et al.)",
    year=2023,
    arxiv="2303.13755",
    padding="position",
    time="N^2 d",
    memory="N^2",
    sees="chosen",
    fixed_length=True,
    published_defaults="a quarter of 197 keys, rank 32, half the head's width; here a quarter of "
    "the keys, rank 8, half the width; the predictor learns with the model, not before it",
    added="2026-11-21",
)
class SparsifinerAttention(MultiHeadAttention):
    r"""Softmax over :math:`T_t`, the share of keys with the highest predicted weight.

    .. math:: C = \operatorname{softmax}(q W_q (B_{in}^\top k W_k)^\top / \sqrt{H}), \quad
              \hat A = C B_{out}, \quad
              T_t = \operatorname{top-}\lceil \kappa n \rceil_s \, \hat A_{ts}, \quad
              o_t = \sum_{s \in T_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    n counts the unpadded tokens. The bases :math:`B_{in}` (L x r) and :math:`B_{out}` (r x L) hold
    a row or column for each position up to the greatest length L. The choice has no gradient; the
    predictor, and nothing else, learns from the auxiliary loss
    :math:`\beta \lVert \hat A - A \rVert^2 / (n H)`, A the softmax over all keys. The paper first
    trains the predictor to imitate a trained model, and makes it cheap by rounding small numbers
    of C and :math:`B_{out}` to 0; here it learns along with the model, all scores are computed and
    none is rounded. The bases start near 0, as the authors', so that C is nearly even at first and
    all queries choose nearly the same keys.
    """

    @dataclass(frozen=True)
    class Config:
        """keep is kappa, rank r, weight beta."""

        keep: float = 0.25
        rank: int = 8
        weight: float = 0.01

        def __post_init__(self) -> None:
            if not 0 < self.keep <= 1 or self.rank < 1 or self.weight < 0:
                raise ValueError("keep must be in (0, 1], rank at least 1, weight at least 0")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        narrow, shape = max(1, self.head_width // 2), (self.max_length, self.config.rank)
        self.narrow_query = nn.Linear(self.head_width, narrow)
        self.narrow_key = nn.Linear(self.head_width, narrow)
        self.basis_in = nn.Parameter(0.02 * torch.randn(shape))
        self.basis_out = nn.Parameter(0.02 * torch.randn(shape))

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 where all keys are padding."""
        absent = padding_of(k, key_padding_mask)
        scores = (q / self.head_width**0.5) @ k.mT
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            predicted = self._predict(q.detach(), k.detach(), absent)
        if self.training:
            self.keep_auxiliary_loss(self._distance(predicted, scores.detach(), absent))
        hidden = absent[:, :, None] | ~self._choose(predicted.detach(), absent)
        (weights,) = weigh((scores, hidden))
        return weights @ v

    def _predict(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        absent: Bool[Tensor, "B 1 N"],
    ) -> Float[Tensor, "B H N N"]:
        length = q.shape[2]
        keys = self.narrow_key(k).masked_fill(absent[..., None], 0.0)
        pooled = self.basis_in[:length].mT @ keys  # (B, H, r, narrow)
        mixture = (self.narrow_query(q) @ pooled.mT / self.heads**0.5).softmax(dim=-1)
        return mixture @ self.basis_out[:length].mT

    @torch.no_grad()
    def _choose(
        self, predicted: Float[Tensor, "B H N N"], absent: Bool[Tensor, "B 1 N"]
    ) -> Bool[Tensor, "B H N N"]:
        keep, length = self.config.keep, absent.shape[-1]
        most = max(1, math.ceil(keep * length))
        ranked = predicted.masked_fill(absent[:, :, None], -torch.inf)
        best = ranked.topk(most, dim=-1, sorted=True).values
        # Rows that padding makes shorter keep fewer.
        kept = (keep * (~absent).sum(dim=-1).double()).ceil().long().clamp(min=1, max=most)
        index = (kept - 1)[..., None, None].expand(*best.shape[:3], 1)
        return ranked >= best.gather(-1, index)

    def _distance(
        self,
        predicted: Float[Tensor, "B H N N"],
        scores: Float[Tensor, "B H N N"],
        absent: Bool[Tensor, "B 1 N"],
    ) -> Float[Tensor, ""]:
        """How far the prediction is from the map, which is the auxiliary loss."""
        (weights,) = weigh((scores, absent[:, :, None]))
        void = absent[:, :, None] | absent[..., None]
        error = (predicted - weights).square().masked_fill(void, 0.0).sum()
        return self.config.weight * error / ((~absent).sum().clamp(min=1) * self.heads)
