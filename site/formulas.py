"""What the formulas of a card say: how its time grows, and how large its decode state is."""

import math
import re
from collections.abc import Mapping
from typing import Any

from cab.formula import evaluate
from cab.taxonomy import VariantCard

SHORT, LONG = 1024, 4096
"""Lengths between which a card's cost formula is said to grow linearly, or not."""


def complexity(card: VariantCard) -> str:
    """How a card's time grows with the length: `linear`, `subquadratic`, `quadratic` or `unknown`.

    The exponent is that of the card's formula between two lengths, settings that it names being
    taken as small constants; where patterns differ, that of the costlier.
    """
    both = [_exponent(card.time, causal) for causal in (False, True)]
    known = [one for one in both if one is not None]
    if not known:
        return "unknown"
    growth = max(known)
    return "linear" if growth < 1.15 else "quadratic" if growth > 1.85 else "subquadratic"


def _exponent(formula: str, causal: bool) -> float | None:
    words = set(re.findall(r"[A-Za-z_]\w*", formula))
    names: dict[str, float] = dict.fromkeys(words, 8.0)
    names |= {"d": 64.0, "E": 16.0, "H": 4.0, "causal": float(causal), "cross": 0.0}
    costs = []
    for length in (SHORT, LONG):
        known = {**names, "N": float(length), "M": float(length)}
        for function in ("abs", "ceil", "log", "log2", "max", "min", "sqrt"):
            known.pop(function, None)
        try:
            costs.append(float(evaluate(formula, known)))
        except (ValueError, ArithmeticError):
            return None
    return math.log(costs[1] / costs[0]) / math.log(LONG / SHORT) if min(costs) > 0 else None


def decode_state(
    card: VariantCard, config: Mapping[str, Any], length: int, heads: int = 4, dim: int = 64
) -> float | None:
    """Elements of the decode state per head after `length` tokens of causal self-attention.

    None if the card has no formula, or one that these settings do not fill.
    """
    if not card.state:
        return None
    sizes = {"N": length, "M": length, "H": heads, "E": dim // heads, "d": dim}
    names = {**sizes, "causal": True, "cross": False}
    # As floats, so that a power of large settings overflows at once.
    own = {k: float(v) if isinstance(v, int | float) else v for k, v in config.items()}
    try:
        found = float(evaluate(card.state, {**own, **names}))
    except (ValueError, TypeError, ArithmeticError):
        return None
    return found if math.isfinite(found) else None
