"""Classify film reviews byte by byte, at the sizes of S4."""

from cab.registry import register_task
from cab.tasks._lra import S4_EVALUATIONS, of_s4, s4_width
from cab.tasks.language._text import Text, recipe


@register_task(
    name="text-s4",
    domain="language",
    pattern="ns",
    summary="classify a film review as positive or negative, byte by byte, at the sizes of S4",
    backbone="classifier",
    metric="accuracy",
    higher_is_better=True,
    chance=0.5,
    version=1,
    length="4,096 bytes",
    data=("imdb",),
    imports=("datasets",),
    source="IMDb reviews (Maas et al., 2011) as bytes, the text task of Long Range Arena (Tay et "
    "al., 2020, arXiv 2011.04006), which validates on its test reviews; here a tenth of the "
    "training reviews is for validation. The sizes and the training of S4 (Gu et al., 2022, arXiv "
    "2111.00396): the variant and a feed-forward of twice the width in place of S4's layer, layer "
    "norms, batches drawn with replacement. Tested on small files of the same format only, not on "
    "the real set",
    licence="none stated; for research",
    suites={"lra-s4": {"accuracy": "Text"}},
    diagnostic=("full",),
)
class TextS4(Text):
    """Six layers and 4,096 bytes, as later work has it."""

    recipes = {  # noqa: RUF012
        "full": recipe(4_096, s4_width(), of_s4(50_000, 16, 0.01), evaluations=S4_EVALUATIONS),
    }
