"""Hourly weather in 12 measurements: Weather in the CAB paper."""

from pathlib import Path

import numpy as np

from cab.data import load_table
from cab.registry import register_task
from cab.tasks.long_range.forecast import Forecasting, Series, Span, informer_width, published


@register_task(
    name="forecast-weather",
    domain="long_range",
    pattern="nc",
    summary="forecast 720 hours of 12 weather measurements from the previous 720 hours",
    backbone="forecaster",
    metric="mse",
    higher_is_better=False,
    version=1,
    length="1,056 queries, 720 keys",
    data=("wth",),
    imports=("datasets",),
    source="local climatological data of NOAA, as selected by Informer (Zhou et al., 2021, arXiv "
    "2012.07436); not tested on the published files yet",
    licence="public domain",
)
class ForecastWeather(Forecasting):
    """Informer's split: 70 % of the hours for training, 10 % for validation, 20 % for testing."""

    recipes = {  # noqa: RUF012
        "standard": published(Span(720, 720), 12, informer_width(256, 2), 3, 4_330, 500),
        "full": published(Span(720, 720), 12, informer_width(512, 2), 3, 4_330, 2_000),
    }

    def read(self, directory: Path) -> Series:
        """Read every column but the date."""
        table = load_table("wth", directory)
        values = np.stack([table[name] for name in table if name != "date"], axis=1)
        return Series(values, int(0.7 * len(values)), len(values) - int(0.2 * len(values)))
