"""The sentences of the page of findings, which README repeats, and what they rest on."""

from cab.analysis.findings import findings
from cab.analysis.reliability import Reliability, reliability
from cab.analysis.variance import scores_of
from cab.scores.rows import RANKED_ROLES
from cab.site.content import Content, ProfileContent

RECALL = (
    ("softmax", ("softmax",)),
    ("the delta rule", ("deltanet", "gated-deltanet")),
    ("gated linear attention", ("gla", "mamba2", "retention")),
    ("a window", ("window",)),
    ("uniform attention", ("mean",)),
)
"""The order on exact recall of Arora et al. (2023, arXiv 2312.04927) and Yang et al. (2024, arXiv
2406.06484), the best first."""


def findings_of(content: Content, one: ProfileContent) -> list[str]:
    """Return what the published records of a profile say, in sentences."""
    return findings(one.board, content.tasks, judged(content, one).components, RECALL)


def judged(content: Content, one: ProfileContent) -> Reliability:
    """How well the scored tasks tell the published entries of a profile apart."""
    return reliability(
        scores_of(one.records.values(), one.board.scales),
        (),
        {name: content.tasks[name] for name in one.board.scales},
        content.reference,
        [row.entry for row in one.board.rows if row.role not in RANKED_ROLES],
    )
