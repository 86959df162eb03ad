"""How Long Range Arena's own programs train, and how those of S4 do, on all six tasks.

The first are the configurations `base_*` and `transformer_base` in the benchmark's repository
(Tay et al., 2020, arXiv 2011.04006), the second `configs/experiment/lra/s4-*` in that of S4 (Gu et
al., 2022, arXiv 2111.00396).
"""

import math

from cab.backbones.slots import Width
from cab.task import PublishedTraining


def by_root(steps: int, warmup: int) -> PublishedTraining:
    """LRA on texts: a rate of 0.05 / sqrt(max(step, warm-up)) after a linear rise."""
    return PublishedTraining(
        steps,
        32,
        0.05 / math.sqrt(warmup),
        weight_decay=0.1,
        warmup=warmup / steps,
        gradient_clip=0.0,
        schedule="inverse-root",
        betas=(0.9, 0.98),
        epsilon=1e-9,
    )


def by_cosine(examples: int, batch: int, rate: float, clip: float = 0.0) -> PublishedTraining:
    """LRA on pictures: 200 epochs, of which the first warms up, and a cosine to zero."""
    epoch = examples // batch
    return PublishedTraining(
        200 * epoch,
        batch,
        rate,
        weight_decay=0.0,
        warmup=1 / 200,
        gradient_clip=clip,
        schedule="cosine",
        betas=(0.9, 0.98),
        epsilon=1e-9,
    )


def of_s4(steps: int, batch: int, rate: float) -> PublishedTraining:
    """S4 on all tasks: a tenth of the steps warms up, a cosine to zero, the best weights."""
    return PublishedTraining(
        steps,
        batch,
        rate,
        weight_decay=0.05,
        warmup=0.1,
        gradient_clip=0.0,
        schedule="cosine",
        keep="best",
    )


S4_EVALUATIONS = 20


def s4_width(dim: int = 256, dropout: float = 0.0) -> Width:
    """S4's six layers; heads and the feed-forward of twice the width are not S4's."""
    return Width(dim=dim, heads=8, layers=6, expansion=2, dropout=dropout)
