"""Noisy in-context recall of MAD: in-context recall among pairs of noise tokens."""

from dataclasses import replace

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks.retrieval.mad_in_context_recall import (
    PAPER_TRAINING,
    PAPER_WIDTH,
    MadInContextRecall,
    Pairs,
    pairs_recipe,
)

STANDARD = Pairs(length=128, vocabulary=32, noise=16, fraction=0.2)


@register_task(
    name="mad-noisy-recall",
    domain="retrieval",
    pattern="cs",
    summary="recall the value of every key that appeared before, with a fifth of all pairs as "
    "noise",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.03125,
    version=1,
    length="127 tokens",
    source="Mechanistic Design and Scaling of Hybrid Architectures (Poli et al., 2024, arXiv "
    "2403.17844), with the same labels in training as in the paper's test",
    licence="generated",
    controls={"window": {"window": 8}},
)
class MadNoisyRecall(MadInContextRecall):
    """In-context recall with noise; splits are draws from more than 8^50 sequences."""

    recipes = {  # noqa: RUF012
        "smoke": pairs_recipe(
            Pairs(length=16, vocabulary=12, noise=4, fraction=0.2),
            Width(dim=16, heads=1, layers=1, short_convolution=3),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": pairs_recipe(
            Pairs(length=128, vocabulary=80, noise=16, fraction=0.2),
            Width(dim=32, heads=1, layers=2, short_convolution=3),
            Training(350, 32, 4e-3),
            500,
        ),
        "standard": pairs_recipe(STANDARD, PAPER_WIDTH, PAPER_TRAINING, 1280),
        "full": pairs_recipe(replace(STANDARD, published=True), PAPER_WIDTH, PAPER_TRAINING, 1280),
    }
