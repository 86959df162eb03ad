"""ListOps as drawn in Long Range Arena, for comparison with published results."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks._lra import by_root
from cab.tasks.long_range._listops import Shape
from cab.tasks.long_range.listops import ListOps, recipe


@register_task(
    name="listops-lra",
    domain="long_range",
    pattern="ns",
    summary="evaluate nested list operations, drawn as in Long Range Arena",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=2,
    length="up to 64 tokens, 1,999 in standard, 2,000 in full",
    source="ListOps (Nangia and Bowman, 2018, arXiv 1804.06028) with the distribution of Long "
    "Range Arena (Tay et al., 2020, arXiv 2011.04006), cut to 64 tokens in quick. Its answers can "
    "be guessed: at the published lengths the most likely class scores 0.17, the root operator "
    "0.37, and the root with its operands' operators 0.60; published Transformers score 0.36 to "
    "0.37, as if they read one token. In full, LRA's own training and sizes. Unlike there, "
    "positions are learned (sines there), attention has no dropout, the head is linear and "
    "batches are drawn with replacement",
    licence="generated",
    suites={"lra": {"accuracy": "ListOps"}},
    diagnostic=("quick", "standard", "full"),
)
class ListOpsLra(ListOps):
    """Shown but never scored; standard and full have the published lengths."""

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            Shape(depth=4, arguments=4, shortest=8, longest=24),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 3e-3),
            50,
        ),
        "quick": recipe(
            Shape(depth=5, arguments=6, shortest=16, longest=64),
            Width(dim=64, heads=4, layers=2, short_convolution=3),
            Training(500, 32, 2e-3),
            500,
        ),
        "standard": recipe(
            Shape(depth=10, arguments=10, shortest=501, longest=1999),
            Width(dim=256, heads=8, layers=4, expansion=4, dropout=0.1),
            Training(20_000, 32, 5e-4, weight_decay=0.1),
            2000,
        ),
        "full": recipe(
            Shape(depth=10, arguments=10, shortest=501, longest=1999),
            Width(dim=512, heads=8, layers=4, expansion=2, dropout=0.1),
            by_root(5_000, warmup=1_000),
            2000,
            pool="cls",
        ),
    }
