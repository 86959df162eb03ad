"""Segmental attention: softmax over the segment between two positions of a monotonic path."""

from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.softmax._masked import masked_softmax
from cab.variants.softmax._monotonic import MonotonicAttention, Path, Scores, Visible


@register_variant(
    name="segmental",
    family="softmax",
    patterns="cc",
    summary="softmax over the part of the context between the last position and a later one",
    paper="A Study of Latent Monotonic Attention Variants (Zeyer, Schlüter, Ney)",
    year=2021,
    arxiv="2103.16710",
    time="N M d",
    memory="N M H",
    state="2 M E + 1",
    sees="chosen",
    gradients="estimated",
    published_defaults="one head with additive scores, trained on alignments that a search finds "
    "with the targets; here products of queries and keys, a path for each head, and "
    "straight-through gradients",
    added="2026-11-30",
)
class SegmentalAttention(MonotonicAttention):
    r"""Attend within the segment that ends at t_s and begins behind the one before.

    .. math:: p_s(t) = \mathrm{softmax}_{t > t_{s-1}}
              \left((w \circ q_s) \cdot k_t / \sqrt{E}\right), \quad
              t_s = \mathrm{argmax}_t\, p_s(t)

    .. math:: o_s = \sum_{t_{s-1} < t \le t_s} \mathrm{softmax}_{t_{s-1} < t \le t_s}
              (q_s \cdot k_t / \sqrt{E}) v_t

    t_0 = 0 stands before the first position, and at the end of the context (M tokens, padding left
    out) the last one is the segment. w (per head) gives ends scores of their own, as the second
    read-out vector of the authors' additive scores does. In the paper t_s is a latent variable,
    trained on paths that a search finds with the targets; a layer sees no targets, so that here
    the path is the greedy one, and the ends learn by an estimate: the gradient of weights to which
    a token belongs by the probability :math:`\sum_{u \ge t} p_s(u)` that the segment has not ended
    before it, given t_{s-1}. The paper has one head; here each head has its own path. The path
    takes N M log N look-ups beside the N M d of the products.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.ends = nn.Parameter(torch.randn(self.heads, 1, self.head_width))

    def scores(
        self, q: Float[Tensor, "B H N E"], k: Float[Tensor, "B H M E"]
    ) -> tuple[Scores, Scores]:
        """Return the scores of the weights and those of the ends."""
        q = q * self.head_width**-0.5
        return q @ k.mT, (q * self.ends) @ k.mT

    def weigh(self, scores: Scores, of_position: Scores, visible: Visible, path: Path) -> Scores:
        """Return the softmax over the segment, with the estimate's gradient."""
        index = torch.arange(scores.shape[-1], device=scores.device)
        open_still = visible & (index >= path.start)
        # At the end of the context no position is open, and the last one is read again.
        segment = visible & (index <= path.position)
        segment = segment & ((index >= path.start) | (index == path.position))
        weights = masked_softmax(scores, ~segment)
        lasting = masked_softmax(of_position, ~open_still)
        lasting = lasting.flip(-1).cumsum(dim=-1).flip(-1).masked_fill(~segment, 0.0)
        # The derivative of weights m_t exp(e_t) / sum, taken at memberships m of 1.
        slope = lasting - lasting.detach()
        return weights * (1 + slope - (weights.detach() * slope).sum(dim=-1, keepdim=True))
