"""The values that a metric can take: no interval reaches beyond them."""

import math
from collections.abc import Mapping

from cab.scores.estimates import ANYWHERE, Interval

_SHARE = Interval(0.0, 1.0)
_LOSS = Interval(0.0, math.inf)
_PERPLEXITY = Interval(1.0, math.inf)

RANGES: Mapping[str, Interval] = {
    # Metrics of tasks.
    "accuracy": _SHARE,
    "digit_accuracy": _SHARE,
    "exact": _SHARE,
    "exact_match": _SHARE,
    "value_accuracy": _SHARE,
    "f_score": _SHARE,
    "r2": Interval(-math.inf, 1.0),
    "rouge_1": Interval(0.0, 100.0),
    "rouge_2": Interval(0.0, 100.0),
    "rouge_l": Interval(0.0, 100.0),
    "psnr": ANYWHERE,
    "ssim": Interval(-1.0, 1.0),
    "mse": _LOSS,
    "mae": _LOSS,
    "cd_l1": _LOSS,
    "cd_l2": _LOSS,
    "mcd": _LOSS,
    "msd": _LOSS,
    "bits_per_byte": _LOSS,
    "bits_per_code": _LOSS,
    "bits_per_pixel": _LOSS,
    "new_bits_per_pixel": _LOSS,
    "log_perplexity": _LOSS,
    # Metrics that lm-evaluation-harness adds.
    "acc": _SHARE,
    "acc_norm": _SHARE,
    "f1": _SHARE,
    "mcc": Interval(-1.0, 1.0),
    "perplexity": _PERPLEXITY,
    "byte_perplexity": _PERPLEXITY,
    "word_perplexity": _PERPLEXITY,
}
"""By name, in the metric's unit; ROUGE is in per cent."""


def metric_range(metric: str) -> Interval:
    """The values of a metric; of one that is not known here, all numbers.

    A filter that is named in brackets (`acc (strict)`) changes no range.
    """
    return RANGES.get(metric.partition(" (")[0], ANYWHERE)


def best_value(metric: str, higher_is_better: bool) -> float | None:
    """The best value that a metric can take; None of an unbounded one.

    A metric that can grow without end is unbounded, and so is every loss: 0 bits, or a mean
    squared error of 0, is not within reach on data with noise.
    """
    reach = metric_range(metric)
    if math.isinf(reach.high):
        return None
    best = reach.high if higher_is_better else reach.low
    return None if math.isinf(best) else best
