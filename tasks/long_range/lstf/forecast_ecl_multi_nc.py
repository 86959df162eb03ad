"""ECL in all channels, noncausal cross: a part of CAB's LSTF task."""

from cab.registry import register_task
from cab.tasks.long_range.lstf._ecl import ECL, MULTI


@register_task(
    name="forecast-ecl-multi-nc",
    domain="long_range",
    pattern="nc",
    summary="forecast 960 hours of the 321 channels of ECL from the previous 336, as CAB does",
    backbone="Informer",
    metric="mse",
    higher_is_better=False,
    version=1,
    length="1,296 queries, 84 keys",
    data=("ecl",),
    imports=("datasets",),
    source="ElectricityLoadDiagrams (Trindade, 2015), completed by Informer (Zhou et al., 2021, "
    "arXiv 2012.07436); Informer and CAB's settings, no normalisation of single windows. CAB's "
    "column ECL is the mean over one channel and all, each over three seeds. Unlike there, the "
    "other attention layers are softmax without dropout, windows are drawn with replacement, all "
    "six epochs run, and every window is tested; not tested on the published files yet",
    licence="CC BY 4.0",
    suites={"cab": {"mse": "ECL MSE", "mae": "ECL MAE"}},
    diagnostic=("standard", "full"),
)
class ForecastEclMultiNc(ECL):
    """The variant is the cross-attention between decoder and encoder."""

    recipes = MULTI
