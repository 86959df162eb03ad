"""Parity: say at every bit of a string whether the ones so far are odd in number."""

from dataclasses import replace

import torch

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Training
from cab.tasks._standard import DEEP, EXAMPLES, TRAINING, reading, standard
from cab.tasks.long_range._products import Products, ladder


@register_task(
    name="parity",
    domain="long_range",
    pattern="cs",
    summary="say at every bit of a string of up to 40 bits whether the ones so far are odd in "
    "number",
    backbone="decoder",
    metric="accuracy",
    higher_is_better=True,
    chance=0.5,
    version=3,
    length="2 to 40 bits",
    source="parity as a test of state tracking, as in Unlocking State-Tracking in Linear RNNs "
    "Through Negative Eigenvalues (Grazzi et al., 2025, arXiv 2411.12537)",
    licence="generated",
    controls={"window": {"window": 16}},
    solvers={"rwkv7": {}},
    certificate={
        "quick": {
            "margin": 0.15,
            "seeds": 3,
            "measured": {
                "mean": 0.78,
                "none": 0.645,
                "rwkv7": 0.996,
                "softmax": 0.755,
                "window": 0.758,
                "identity": 0.511,
                "last two": 0.556,
            },
            "floors": (1.0, 1.0, 1.0, 0.9333, 0.5147, 0.5288, 0.509),
        },
        "standard": {"margin": 0.15, "seeds": 3},
    },
)
class Parity(Products):
    """The sum modulo 2 of the bits up to each; scored over the last quarter of the string.

    The levels are the lengths. One bit changes all later answers, so nothing less than all bits
    answers, and the shares of ones and zeros say nothing. There are few strings of the easiest
    levels, and all of them are trained on; those of the highest levels are not repeated.
    """

    table = torch.tensor([[0, 1], [1, 0]])

    recipes = {  # noqa: RUF012
        "smoke": ladder(
            (4, 8),
            2,
            Width(dim=16, heads=2, layers=1, short_convolution=3),
            Training(4, 16, 5e-3),
            50,
        ),
        "quick": ladder(
            (2, 4, 8, 12, 20, 30, 40),
            2,
            Width(dim=32, heads=2, layers=2, short_convolution=3),
            Training(2000, 32, 2e-3),
            100,
            rates=(1e-3, 2e-3, 5e-3),
        ),
        "standard": standard(
            ladder(
                (2, 4, 8, 12, 20, 40, 80, 160),
                2,
                reading(DEEP),
                replace(TRAINING, steps=20_000),
                EXAMPLES,
            )
        ),
    }
