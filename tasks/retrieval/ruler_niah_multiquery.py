"""Needle in a haystack of RULER: recall several of many needles."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Recipe, Training
from cab.tasks.retrieval._haystack import Needles, NeedleTask
from cab.tasks.retrieval._labelled import recipe


def _recipe(params: Needles, width: Width, training: Training, examples: int) -> Recipe:
    sizes = {"length": params.length, "vocabulary": params.vocabulary}
    return recipe(params, width, training, examples, **sizes)


@register_task(
    name="ruler-niah-multiquery",
    domain="retrieval",
    pattern="cs",
    summary="recall the values of 8 of 16 needles in 128 tokens",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.03125,
    version=1,
    length="128 tokens",
    source="niah_multiquery of RULER (Hsieh et al., 2024, arXiv 2404.06654), in synthetic tokens",
    licence="generated",
    controls={"window": {"window": 8}},
)
class RulerNiahMultiquery(NeedleTask):
    """Each answer is given at its own query. Splits are draws from more than 10^100 sequences."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            Needles(length=18, needles=3, keys=4, values=4, filler=4, queries=2),
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            Needles(length=128, needles=16, keys=32, values=32, filler=16, queries=8),
            Width(dim=64, heads=1, layers=2, short_convolution=3),
            Training(250, 32, 4e-3),
            500,
        ),
        "standard": _recipe(
            Needles(length=4096, needles=4, keys=1024, values=1024, filler=256, queries=4),
            Width(dim=256, heads=4, layers=4, expansion=4, short_convolution=3),
            Training(10_000, 8, 1e-3),
            500,
        ),
    }
