"""Hard monotonic attention: each query reads one position, behind the one before."""

import torch

from cab.registry import register_variant
from cab.variants.softmax._masked import masked_softmax
from cab.variants.softmax._monotonic import MonotonicAttention, Path, Scores, Visible


@register_variant(
    name="monotonic-hard",
    family="softmax",
    patterns="cc",
    summary="each query reads the best position of the context behind the one before",
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
class HardMonotonicAttention(MonotonicAttention):
    r"""Take a position t_s of the context for each query s, strictly behind t_{s-1}.

    .. math:: p_s(t) = \mathrm{softmax}_{t > t_{s-1}}(q_s \cdot k_t / \sqrt{E}), \quad
              t_s = \mathrm{argmax}_t\, p_s(t), \quad o_s = v_{t_s}

    t_0 = 0 stands before the first position, and at the end of the context (M tokens, padding left
    out) the last one is read again. In the paper t_s is a latent variable: training alternates
    between a search for the best path, which knows the targets, and the likelihood of targets and
    path; recognition keeps several paths in a beam. A layer sees neither targets nor loss. Here
    the path is the greedy one, and gradients are those of :math:`\sum_t p_s(t) v_t` given t_{s-1},
    as an estimate. The paper has one head; here each head has its own path. The path is found for
    all queries at once by composing tables, which takes N M log N look-ups beside the N M d of
    the products.
    """

    def weigh(self, scores: Scores, of_position: Scores, visible: Visible, path: Path) -> Scores:
        """Return 1 at t_s, with the gradient of p."""
        index = torch.arange(scores.shape[-1], device=scores.device)
        taken = ((index == path.position) & visible).to(scores.dtype)
        soft = masked_softmax(scores, ~(visible & (index >= path.start)))
        return taken + (soft - soft.detach())
