"""The sentences of the page of findings, which README repeats."""

from cab.analysis.findings import findings
from cab.analysis.variance import Components, scores_of, variance_components
from cab.scores.rows import RANKED_ROLES
from cab.site.content import Content, ProfileContent
from cab.taxonomy import Pattern


def findings_of(content: Content, one: ProfileContent) -> list[str]:
    """Return what the published records of a profile say, in sentences."""
    return findings(one.board, content.tasks, components(content, one))


def components(content: Content, one: ProfileContent) -> dict[Pattern, Components]:
    """The variance of the scores in each pattern by what it comes from, controls left out."""
    ranked = {row.entry for row in one.board.rows if row.role in RANKED_ROLES}
    scores = [
        score
        for score in scores_of(one.records.values(), one.board.scales)
        if score.entry in ranked
    ]
    found = {
        pattern: variance_components(
            [score for score in scores if content.tasks[score.task].pattern == pattern]
        )
        for pattern in Pattern
    }
    return {pattern: parts for pattern, parts in found.items() if parts is not None}
