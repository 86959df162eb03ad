"""Local linear attention: softmax's weighted mean, corrected by a weighted regression."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cab.decoding import CachedAttention
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import padded_keys, softmax_over_visible


@register_variant(
    name="local-linear",
    family="linear",
    patterns="ns cs",
    extended="ns",
    summary="a softmax-weighted linear regression of values on keys, evaluated at the query",
    paper="Local Linear Attention: An Optimal Interpolation of Linear and Softmax Attention "
    "For Test-Time Regression (Zuo et al.)",
    year=2025,
    arxiv="2510.01450",
    time="N^2 E d",
    memory="N d block",
    state="2 M E",
    budget="ridge",
    published_defaults="a ridge penalty; here 1, relative to the sum of the weights",
    added="2026-11-21",
)
class LocalLinearAttention(CachedAttention):
    r"""Fit a linear function to (k_s, v_s) with softmax weights, and evaluate it at the query.

    .. math:: \min_{b, W} \sum_{s \in V_t} p_{ts} |v_s - b - W (k_s - q_t)|^2
              + \lambda |W|^2, \quad o_t = b, \quad
              p_t = \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E})

    Softmax attention fits a constant. With p-weighted means and covariances the solution is

    .. math:: o_t = \bar v_t + \mathrm{Cov}_t(v, k)
              (\mathrm{Cov}_t(k, k) + \lambda I)^{-1} (q_t - \bar k_t)

    solved directly where the paper iterates; as lambda grows it becomes softmax attention.
    Queries are taken in blocks that the backward pass computes again, so that the centred keys
    of every query, block N E numbers a head, are never all in memory.
    """

    @dataclass(frozen=True)
    class Config:
        """ridge: lambda. block: queries at a time; it changes the cost, not the result."""

        ridge: float = 1.0
        block: int = 16

        def __post_init__(self) -> None:
            if self.ridge <= 0 or self.block < 1:
                raise ValueError("ridge must be above 0 and block at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS q are the last of M positions."""
        return at_least_float32(self._attend)(q, k, v, padded_keys(k, key_padding_mask))

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        padded: Bool[Tensor, "B M"],
    ) -> Float[Tensor, "B H N E"]:
        first, after = k.shape[2] - q.shape[2], k.shape[2]
        positions = torch.arange(first, after, device=k.device)
        if not self.pattern.causal:
            positions = torch.full_like(positions, after)
        blocks = [
            checkpoint(
                self._regress,
                *(rows, k, v, padded, last),
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for rows, last in zip(
                *(q.split(self.config.block, dim=2), positions.split(self.config.block)),
                strict=True,
            )
        ]
        return torch.cat(blocks, dim=2)

    def _regress(
        self,
        q: Float[Tensor, "B H C E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        padded: Bool[Tensor, "B M"],
        last: Int[Tensor, " C"],
    ) -> Float[Tensor, "B H C E"]:
        """Answer queries that see the keys up to `last`."""
        later = torch.arange(k.shape[2], device=k.device) > last[:, None]
        hidden = padded[:, None, None, :] | later
        p = softmax_over_visible(q / self.head_width**0.5 @ k.mT, hidden)
        mean_key, mean_value = p @ k, p @ v
        centred = k[:, :, None] - mean_key[..., None, :]  # (B, H, C, M, E)
        covariance = (centred * p[..., None]).mT @ centred
        ridge = self.config.ridge * torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
        slope = torch.linalg.solve(covariance + ridge, q - mean_key)
        steps = (centred @ slope[..., None]).squeeze(-1)
        return mean_value + (p * steps) @ v
