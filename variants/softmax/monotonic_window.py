"""Windowed monotonic attention: softmax around a position that moves on with each query."""

from dataclasses import dataclass

from cab.registry import register_variant
from cab.variants.softmax._masked import masked_softmax
from cab.variants.softmax._monotonic import MonotonicAttention, Path, Scores, Visible


@register_variant(
    name="monotonic-window",
    family="softmax",
    patterns="cc",
    summary="softmax in a window around the best position of the context behind the one before",
    paper="A Study of Latent Monotonic Attention Variants (Zeyer, Schlüter, Ney)",
    year=2021,
    arxiv="2103.16710",
    time="N M d",
    memory="N M H",
    state="2 M E + 1",
    sees="chosen",
    published_defaults="a window of 10, from 5 before the position to 4 behind it, and one head "
    "with additive scores; here the same window, products of queries and keys, and a path for "
    "each head",
    added="2026-11-30",
)
class WindowedMonotonicAttention(MonotonicAttention):
    r"""Attend within w tokens around a position t_s that lies strictly behind t_{s-1}.

    .. math:: t_s = \mathrm{argmax}_{t > t_{s-1}}\, q_s \cdot k_t, \quad
              o_s = \sum_{t \in W_s} \mathrm{softmax}_{t \in W_s}(q_s \cdot k_t / \sqrt{E}) v_t,
              \quad W_s = \{t_s - \lfloor w/2 \rfloor, \ldots, t_s + \lceil w/2 \rceil - 1\}

    t_0 = 0 stands before the first position, and at the end of the context (M tokens, padding left
    out) the last one is taken again. Positions and weights come from the same scores, as in the
    authors' configurations. In the paper t_s is a latent variable, trained on paths that a search
    finds with the targets; a layer sees no targets, so that here the path is the greedy one, and
    the scores learn from the weights alone. The paper has one head; here each head has its own
    path. Scores are products of all N M pairs, since the path is not known before; it takes N M
    log N look-ups more.
    """

    @dataclass(frozen=True)
    class Config:
        """window: w, how many tokens a query reads."""

        window: int = 10

        def __post_init__(self) -> None:
            if self.window < 1:
                raise ValueError("window must be at least 1")

    config: Config

    def weigh(self, scores: Scores, of_position: Scores, visible: Visible, path: Path) -> Scores:
        """Return the softmax over the window, counted in unpadded tokens."""
        rank = visible.long().cumsum(dim=-1)
        before = self.config.window // 2
        offset = rank - rank.expand(*scores.shape[:2], -1, -1).gather(-1, path.position.mT).mT
        near = (offset >= -before) & (offset < self.config.window - before)
        return masked_softmax(scores, ~(near & visible))
