"""ETTm1 in all channels, noncausal self: a part of CAB's LSTF task."""

from cab.registry import register_task
from cab.tasks.long_range.lstf._ettm1 import MULTI, ETTm1


@register_task(
    name="forecast-ettm1-multi-ns",
    domain="long_range",
    pattern="ns",
    summary="forecast 672 quarters of an hour of the 7 channels of ETTm1 from the previous 672, "
    "as CAB does",
    backbone="Informer",
    metric="mse",
    higher_is_better=False,
    version=1,
    length="672 steps, halved to 336",
    data=("ettm1",),
    imports=("datasets",),
    source="ETTm1, from Informer (Zhou et al., 2021, arXiv 2012.07436); Informer and CAB's "
    "settings, no normalisation of single windows. CAB's column ETT is the mean over ETTh1, ETTh2 "
    "and ETTm1, one channel and all, each over five seeds. Unlike there, the other attention "
    "layers are softmax without dropout, windows are drawn with replacement, all six epochs run, "
    "and every window is tested; CAB published no result in ns; not tested on the published "
    "files yet",
    licence="CC BY-ND 4.0",
    suites={"cab": {"mse": "ETT MSE", "mae": "ETT MAE"}},
    diagnostic=("standard", "full"),
)
class ForecastEttm1MultiNs(ETTm1):
    """The variant is the self-attention of the encoder."""

    recipes = MULTI
