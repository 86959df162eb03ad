"""Weather in one channel, noncausal self: a part of CAB's LSTF task."""

from cab.registry import register_task
from cab.tasks.long_range.lstf._weather import UNI, Weather


@register_task(
    name="forecast-weather-uni-ns",
    domain="long_range",
    pattern="ns",
    summary="forecast 720 hours of the wet-bulb temperature of Weather from the previous 720, as "
    "CAB does",
    backbone="Informer",
    metric="mse",
    higher_is_better=False,
    version=1,
    length="720 steps, halved to 180",
    data=("wth",),
    imports=("datasets",),
    source="local climatological data of NOAA, as selected by Informer (Zhou et al., 2021, arXiv "
    "2012.07436); Informer and CAB's settings, no normalisation of single windows. CAB's column "
    "Weather is the mean over one channel and all, each over three seeds. Unlike there, the other "
    "attention layers are softmax without dropout, windows are drawn with replacement, all six "
    "epochs run, and every window is tested; CAB published no result in ns; not tested on the "
    "published files yet",
    licence="public domain",
    suites={"cab": {"mse": "Weather MSE", "mae": "Weather MAE"}},
    diagnostic=("standard", "full"),
)
class ForecastWeatherUniNs(Weather):
    """The variant is the self-attention of the encoder."""

    recipes = UNI
