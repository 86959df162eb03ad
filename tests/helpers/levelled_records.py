"""Metrics of a task with levels, for records that never ran."""

from collections.abc import Sequence

from cab.records.parts import AtLevel, Estimate, Metrics


def at_levels(
    values: Sequence[float], *, valid: float | None = None, shortcuts: Sequence[float] = ()
) -> Metrics:
    """The accuracy at levels `length 1`, `length 2` ..., and its means.

    Args:
        values: the test result of each level.
        valid: validation, the same at each level; by default the test results.
        shortcuts: what the shortcut `last value` scores at each level.
    """
    test = [_estimate(value) for value in values]
    validation = test if valid is None else [_estimate(valid)] * len(test)
    cut = [{"last value": _estimate(value)} for value in shortcuts] or [{} for _ in test]
    both = zip(validation, test, cut, strict=True)
    return Metrics(
        valid={"accuracy": Estimate.mean(validation)},
        test={"accuracy": Estimate.mean(test)},
        levels=tuple(
            AtLevel(level=number, name=f"length {number}", valid=v, test=t, shortcuts=c)
            for number, (v, t, c) in enumerate(both, 1)
        ),
    )


def _estimate(value: float) -> Estimate:
    return Estimate(value=value, standard_error=0.01, n=10)
