"""ETTh2 in all channels, noncausal cross: a part of CAB's LSTF task."""

from cab.registry import register_task
from cab.tasks.long_range.lstf._etth2 import MULTI, ETTh2


@register_task(
    name="forecast-etth2-multi-nc",
    domain="long_range",
    pattern="nc",
    summary="forecast 720 hours of the 7 channels of ETTh2 from the previous 720, as CAB does",
    backbone="Informer",
    metric="mse",
    higher_is_better=False,
    version=1,
    length="1,056 queries, 360 keys",
    data=("etth2",),
    imports=("datasets",),
    source="ETTh2, from Informer (Zhou et al., 2021, arXiv 2012.07436); Informer and CAB's "
    "settings, no normalisation of single windows. CAB's column ETT is the mean over ETTh1, ETTh2 "
    "and ETTm1, one channel and all, each over five seeds. Unlike there, the other attention "
    "layers are softmax without dropout, windows are drawn with replacement, all six epochs run, "
    "and every window is tested",
    licence="CC BY-ND 4.0",
    suites={"cab": {"mse": "ETT MSE", "mae": "ETT MAE"}},
    diagnostic=("standard", "full"),
)
class ForecastEtth2MultiNc(ETTh2):
    """The variant is the cross-attention between decoder and encoder."""

    recipes = MULTI
