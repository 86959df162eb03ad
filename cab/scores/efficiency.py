"""Efficiency length: from which length on a mechanism is cheaper than softmax attention."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fit:
    """CAB's efficiency length with the quality of both fits (R^2 of baseline and mechanism)."""

    length: float | None
    baseline_r2: float
    mechanism_r2: float


def fitted_efficiency_length(baseline: Mapping[int, float], mechanism: Mapping[int, float]) -> Fit:
    r"""CAB's own definition (Zhang et al., 2023, arXiv 2210.07661): a root of two fits.

    .. math:: a N^2 + b N + c = m N + k

    The baseline's cost is fitted by a parabola in the length N, the mechanism's by a line, and the
    larger root is the efficiency length; None where they do not cross above 0. It extrapolates,
    so it stands beside the measured crossing (`crossing`) and does not replace it.
    """
    parabola = np.polyfit(*_columns(baseline), 2)
    line = np.polyfit(*_columns(mechanism), 1)
    roots = np.roots(np.polysub(parabola, line))
    real = [float(root.real) for root in roots if abs(root.imag) < 1e-9 and root.real > 0]
    return Fit(
        max(real, default=None),
        _r2(baseline, np.polyval(parabola, list(baseline))),
        _r2(mechanism, np.polyval(line, list(mechanism))),
    )


def crossing(baseline: Mapping[int, float], mechanism: Mapping[int, float]) -> float | None:
    """The length from which on the mechanism stays cheaper, within what was measured.

    Between two measured lengths both costs are straight lines in log-log. None where it is not
    cheaper at the longest common length; the shortest length where it always is.
    """
    lengths = sorted(baseline.keys() & mechanism.keys())
    gaps = [math.log(mechanism[n] / baseline[n]) for n in lengths]
    if not gaps or gaps[-1] >= 0:
        return None
    last_dearer = max((place for place, gap in enumerate(gaps) if gap >= 0), default=None)
    if last_dearer is None:
        return float(lengths[0])
    before, after = gaps[last_dearer], gaps[last_dearer + 1]
    share = before / (before - after)
    low, high = math.log(lengths[last_dearer]), math.log(lengths[last_dearer + 1])
    return math.exp(low + share * (high - low))


def _columns(costs: Mapping[int, float]) -> tuple[list[int], list[float]]:
    return list(costs), list(costs.values())


def _r2(costs: Mapping[int, float], fitted: NDArray[np.floating[Any]]) -> float:
    values = np.asarray(list(costs.values()), dtype=np.float64)
    return float(1 - ((values - fitted) ** 2).sum() / ((values - values.mean()) ** 2).sum())
