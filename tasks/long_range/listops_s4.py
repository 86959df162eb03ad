"""ListOps as drawn in Long Range Arena, at the sizes of S4."""

from cab.registry import register_task
from cab.tasks._lra import S4_EVALUATIONS, of_s4, s4_width
from cab.tasks.long_range._listops import Shape
from cab.tasks.long_range.listops import ListOps, recipe


@register_task(
    name="listops-s4",
    domain="long_range",
    pattern="ns",
    summary="evaluate nested list operations, drawn as in Long Range Arena, at the sizes of S4",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=1,
    length="501 to 1,999 tokens",
    source="ListOps (Nangia and Bowman, 2018, arXiv 1804.06028) with the distribution of Long "
    "Range Arena (Tay et al., 2020, arXiv 2011.04006), whose answers can be guessed: see "
    "`listops-lra`. The sizes and the training of S4 (Gu et al., 2022, arXiv 2111.00396): the "
    "variant and a feed-forward of twice the width in place of S4's layer, layer norms, batches "
    "drawn with replacement",
    licence="generated",
    suites={"lra-s4": {"accuracy": "ListOps"}},
    diagnostic=("full",),
)
class ListOpsS4(ListOps):
    """Shown but never scored."""

    recipes = {  # noqa: RUF012
        "full": recipe(
            Shape(depth=10, arguments=10, shortest=501, longest=1999),
            s4_width(),
            of_s4(120_000, 32, 0.01),
            2_000,
            pool="mean",
            evaluations=S4_EVALUATIONS,
        ),
    }
