"""Recall from a memory of random vectors by similarity: queries are noisy copies of the keys."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Training, choose
from cab.tasks._standard import EXAMPLES, SHALLOW, TRAINING, standard
from cab.tasks.retrieval._vectors import VectorMemory, recipe


@dataclass(frozen=True)
class Vectors:
    """keys K, each with one of `classes` labels, and as many queries.

    A key is a random direction in `dim` dimensions. A query is a key plus a random vector whose
    length is `noise`, made a direction again.
    """

    keys: int
    dim: int
    classes: int
    noise: float


def generate(params: Vectors, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return keys and queries (count, K, dim), labels of the keys and targets (count, K).

    Every key is asked for once, in random order. The target of a query is the label of the key
    that is nearest to it, which, with little noise, is the key that it was made from.
    """
    shape = (count, params.keys, params.dim)
    keys = F.normalize(torch.randn(shape, generator=generator), dim=-1)
    off = F.normalize(torch.randn(shape, generator=generator), dim=-1)
    labels = choose(count * params.keys, params.classes, generator).view(count, params.keys)
    order = torch.rand(count, params.keys, generator=generator).argsort(dim=1)
    queries = keys.gather(1, order[..., None].expand(shape)) + params.noise * off
    queries = F.normalize(queries, dim=-1)
    nearest = (queries @ keys.mT).argmax(dim=2)
    return {
        "keys": keys,
        "labels": labels,
        "inputs": queries,
        "targets": labels.gather(1, nearest),
    }


def _recipe(
    levels: tuple[Vectors, ...],
    width: Width,
    training: Training,
    examples: int,
    rates: tuple[float, ...] = (),
) -> Recipe:
    return recipe(levels, levels[-1].keys, width, training, examples // 2, examples, rates)


@register_task(
    name="nearest-key",
    domain="retrieval",
    pattern="nc",
    summary="name the labels of the vectors that are nearest to queries, from a memory of 64",
    backbone="context reader",
    metric="accuracy",
    higher_is_better=True,
    chance=0.0625,
    version=1,
    length="64 queries, 64 keys",
    source="the retrieval of stored patterns from noisy ones: Hopfield Networks Is All You Need "
    "(Ramsauer et al., 2020, arXiv 2008.02217)",
    licence="generated",
    certificate={
        "quick": {
            "margin": 0.6,
            "seeds": 3,
            "measured": {"mean": 0.267, "none": 0.06, "softmax": 0.999, "most frequent": 0.271},
            "floors": (0.55, 0.3525, 0.2494, 0.1963, 0.1533, 0.1236),
        },
        "standard": {"margin": 0.6, "seeds": 3},
    },
)
class NearestKey(VectorMemory):
    """Associative memory of continuous patterns, which are new in every example.

    The levels are the number of keys. A mean over the memory says how often each label stands in
    it, but not at which key.
    """

    recipes = {  # noqa: RUF012
        "smoke": _recipe(
            tuple(Vectors(keys, dim=8, classes=4, noise=0.2) for keys in (2, 8)),
            Width(dim=16, heads=2, layers=1),
            Training(4, 16, 4e-3),
            50,
        ),
        "quick": _recipe(
            tuple(Vectors(keys, dim=16, classes=16, noise=0.3) for keys in (2, 4, 8, 16, 32, 64)),
            Width(dim=32, heads=2, layers=2),
            Training(1000, 32, 5e-3),
            200,
            rates=(2e-3, 5e-3, 1e-2),
        ),
        "standard": standard(
            _recipe(
                tuple(
                    Vectors(keys, dim=32, classes=32, noise=0.3)
                    for keys in (2, 8, 32, 64, 128, 256)
                ),
                SHALLOW,
                TRAINING,
                EXAMPLES,
            )
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators, as directions are real numbers."""
        drawn = generate(self.recipe.data, count, generator)
        return self.batch(drawn["keys"], drawn)
