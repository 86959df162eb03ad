"""Classify film reviews byte by byte, at the sizes of Long Range Arena."""

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks._lra import by_root
from cab.tasks.language._text import Text, recipe


@register_task(
    name="text-lra",
    domain="language",
    pattern="ns",
    summary="classify a film review as positive or negative, byte by byte, as in Long Range Arena",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.5,
    version=1,
    length="1,001 in full: 1,000 bytes and a token; 1,024 in standard",
    data=("imdb",),
    imports=("datasets",),
    source="IMDb reviews (Maas et al., 2011) as bytes, the text task of Long Range Arena (Tay et "
    "al., 2020, arXiv 2011.04006), which validates on its test reviews; here a tenth of the "
    "training reviews is for validation. In full, LRA's own training and sizes. Unlike there, "
    "positions are learned (sines there), attention has no dropout, the head is linear and "
    "batches are drawn with replacement. Tested on small files of the same format only, not on "
    "the real set",
    licence="none stated; for research",
    suites={"lra": {"accuracy": "Text"}},
    diagnostic=("standard", "full"),
)
class TextLra(Text):
    """LRA's own configuration, which reads 1,000 bytes; its paper tries up to 4,000."""

    recipes = {  # noqa: RUF012
        "standard": recipe(
            1024,
            Width(dim=256, heads=4, layers=4, expansion=4, dropout=0.1),
            Training(20_000, 32, 5e-4, weight_decay=0.1),
        ),
        "full": recipe(
            1_000,
            Width(dim=256, heads=4, layers=4, expansion=4, dropout=0.1),
            by_root(20_000, warmup=8_000),
            pool="cls",
        ),
    }
