"""Decide whether one of two papers cites the other, at the sizes of S4."""

from cab.registry import register_task
from cab.tasks._lra import S4_EVALUATIONS, of_s4, s4_width
from cab.tasks.retrieval._match import Match, recipe


@register_task(
    name="match-s4",
    domain="retrieval",
    pattern="ns",
    summary="decide whether one of two papers cites the other, reading each alone, byte by byte, "
    "at the sizes of S4",
    backbone="two towers",
    metric="accuracy",
    higher_is_better=True,
    chance=0.5,
    version=1,
    length="2 x 4,000 bytes",
    data=("aan",),
    imports=("datasets",),
    source="ACL Anthology Network (Radev et al., 2013), the retrieval task of Long Range Arena "
    "(Tay et al., 2020, arXiv 2011.04006) and its tables; the two vectors a and b are joined as "
    "(a, b, a * b, a - b), as in later implementations, which score about 20 points more. The "
    "sizes and the training of S4 (Gu et al., 2022, arXiv 2111.00396): the variant and a "
    "feed-forward of twice the width in place of S4's layer, layer norms, batches drawn with "
    "replacement. Tested on small files of the same format only, not on the real set",
    licence="ACL Anthology: CC BY-NC-SA 3.0 up to 2015, CC BY 4.0 since",
    suites={"lra-s4": {"accuracy": "Retrieval"}},
    diagnostic=("full",),
)
class MatchS4(Match):
    """The published split, without pairs that are also in a later part of it."""

    recipes = {  # noqa: RUF012
        "full": recipe(4_000, s4_width(), of_s4(50_000, 64, 0.01), evaluations=S4_EVALUATIONS),
    }
