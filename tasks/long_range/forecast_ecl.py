"""Hourly electricity use of 321 clients: ECL in the CAB paper."""

from pathlib import Path

import numpy as np

from cab.data import load_table
from cab.registry import register_task
from cab.tasks.long_range.forecast import Forecasting, Series, Span, informer_width, published


@register_task(
    name="forecast-ecl",
    domain="long_range",
    pattern="nc",
    summary="forecast 960 hours of the electricity use of 321 clients from the previous 336 hours",
    backbone="forecaster",
    metric="mse",
    higher_is_better=False,
    version=1,
    length="1,296 queries, 336 keys",
    data=("ecl",),
    imports=("datasets",),
    source="ElectricityLoadDiagrams (Trindade, 2015), completed by Informer (Zhou et al., 2021, "
    "arXiv 2012.07436); not tested on the published files yet",
    licence="CC BY 4.0",
)
class ForecastEcl(Forecasting):
    """Informer's split: 70 % of the hours for training, 10 % for validation, 20 % for testing."""

    recipes = {  # noqa: RUF012
        "standard": published(Span(336, 960), 321, informer_width(256, 2), 3, 3_220, 500),
        "full": published(Span(336, 960), 321, informer_width(512, 2), 3, 3_220, 2_000),
    }

    def read(self, directory: Path) -> Series:
        """Read every column but the date."""
        table = load_table("ecl", directory)
        values = np.stack([table[name] for name in table if name != "date"], axis=1)
        return Series(values, int(0.7 * len(values)), len(values) - int(0.2 * len(values)))
