"""The efficiency length of the CAB paper: the length at which two fitted curves cross."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fit:
    """The efficiency length of the CAB paper, and R^2 of the fits of baseline and mechanism."""

    length: float | None
    baseline_r2: float
    mechanism_r2: float


def fitted_efficiency_length(baseline: Mapping[int, float], mechanism: Mapping[int, float]) -> Fit:
    r"""CAB's own definition (Zhang et al., 2023, arXiv 2210.07661): a root of two fits.

    .. math:: a N^2 + b N + c = m N + k

    The baseline's cost is fitted by a parabola in the length N, the mechanism's by a line, and the
    larger root is the length; None where they do not cross above 0. It may
    extrapolate, so it is shown beside the measured crossover length and does not replace it.
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


def _columns(costs: Mapping[int, float]) -> tuple[list[int], list[float]]:
    return list(costs), list(costs.values())


def _r2(costs: Mapping[int, float], fitted: NDArray[np.floating[Any]]) -> float:
    values = np.asarray(list(costs.values()), dtype=np.float64)
    return float(1 - ((values - fitted) ** 2).sum() / ((values - values.mean()) ** 2).sum())
