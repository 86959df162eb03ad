"""Weather, the weather in 12 measurements: its parts and its recipes."""

from cab.tasks.long_range.lstf._informer import Forecasting, Parts, Window, recipes

PARTS = Parts.of(35_064)
UNI = recipes(
    Window(720, 720, "WetBulbCelsius"), PARTS, channels=1, known=336, encoder=3, decoder=2
)
MULTI = recipes(Window(720, 720), PARTS, channels=12, known=336, encoder=3, decoder=2)


class Weather(Forecasting):
    """Windows of Weather."""

    data_set = "wth"
    parts = PARTS
