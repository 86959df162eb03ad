"""Decide whether one of two papers cites the other, at the sizes of Long Range Arena."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks._lra import by_root
from cab.tasks.retrieval._match import Match, recipe


@register_task(
    name="match-lra",
    domain="retrieval",
    pattern="ns",
    summary="decide whether one of two papers cites the other, reading each alone, byte by byte, "
    "as in Long Range Arena",
    backbone="two towers",
    metric="accuracy",
    higher_is_better=True,
    chance=0.5,
    version=1,
    length="2 x 4,001 in full: 4,000 bytes and a token; 2 x 1,024 in standard",
    data=("aan",),
    imports=("datasets",),
    source="ACL Anthology Network (Radev et al., 2013), the retrieval task of Long Range Arena "
    "(Tay et al., 2020, arXiv 2011.04006) and its tables; in full, LRA's own training, whose "
    "warm-up of 8,000 steps is longer than its 5,000 steps, and its sizes, the two vectors joined "
    "as (a, b). Unlike there, positions are learned (sines there), attention has no dropout, the "
    "head has one hidden layer instead of two and batches are drawn with replacement. In standard "
    "they are joined as (a, b, a * b, a - b), as in later implementations, which score about 20 "
    "points more. Tested on small files of the same format only, not on the real set",
    licence="ACL Anthology: CC BY-NC-SA 3.0 up to 2015, CC BY 4.0 since",
    suites={"lra": {"accuracy": "Retrieval"}},
    diagnostic=("standard", "full"),
)
class MatchLra(Match):
    """The published split, without pairs that are also in a later part of it."""

    recipes = {  # noqa: RUF012
        "standard": recipe(
            1024,
            Width(dim=128, heads=4, layers=4, expansion=4, dropout=0.1),
            Training(30_000, 32, 3e-4, weight_decay=0.04),
            valid=4_000,
        ),
        "full": recipe(
            4_000,
            Width(dim=128, heads=4, layers=4, expansion=4, dropout=0.1),
            by_root(5_000, warmup=8_000),
            join="ends",
            pool="cls",
        ),
    }
