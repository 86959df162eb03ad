"""ETTh2 in one channel, noncausal self: a part of CAB's LSTF task."""

from cab.registry import register_task
from cab.tasks.long_range.lstf._etth2 import UNI, ETTh2


@register_task(
    name="forecast-etth2-uni-ns",
    domain="long_range",
    pattern="ns",
    summary="forecast 720 hours of the oil temperature of ETTh2 from the previous 336, as CAB "
    "does",
    backbone="Informer",
    metric="mse",
    higher_is_better=False,
    version=1,
    length="336 steps, halved to 168",
    data=("etth2",),
    imports=("datasets",),
    source="ETTh2, from Informer (Zhou et al., 2021, arXiv 2012.07436); Informer and CAB's "
    "settings, no normalisation of single windows. CAB's column ETT is the mean over ETTh1, ETTh2 "
    "and ETTm1, one channel and all, each over five seeds. Unlike there, the other attention "
    "layers are softmax without dropout, windows are drawn with replacement, all six epochs run, "
    "and every window is tested; CAB published no result in ns",
    licence="CC BY-ND 4.0",
    suites={"cab": {"mse": "ETT MSE", "mae": "ETT MAE"}},
    diagnostic=("standard", "full"),
)
class ForecastEtth2UniNs(ETTh2):
    """The variant is the self-attention of the encoder."""

    recipes = UNI
