"""What the standard recipes of the scored tasks share: networks and batches for one GPU.

Networks are two to four times as wide as in quick, the hardest levels four to eight times as long,
and training has about ten times as many steps, at lower rates. It is in float32, so that a
mechanism is not judged by how its code stands a shorter mantissa; `train.precision` is an option.
"""

from dataclasses import replace

from cab.backbones.slots import Width
from cab.task import Recipe, Training

SHALLOW = Width(dim=128, heads=4, layers=2)
DEEP = Width(dim=128, heads=4, layers=4)

TRAINING = Training(steps=10_000, batch_size=64, learning_rate=1e-3)
RATES = (5e-4, 1e-3, 2e-3)

EXAMPLES = 400
"""Test examples at each level, and validation examples or twice as many as these."""


def standard(
    recipe: Recipe, evaluation_batch: int = 50, rates: tuple[float, ...] = RATES
) -> Recipe:
    """Return a recipe with three rates, tested in batches that fit a GPU."""
    return replace(recipe, rates=rates, evaluation_batch=evaluation_batch)


def reading(width: Width) -> Width:
    """Return a width with the short convolution before attention that the quick recipe has."""
    return replace(width, short_convolution=3)
