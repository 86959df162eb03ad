"""ECL, the electricity use of 321 clients: its parts and its recipes."""

from cab.tasks.long_range.lstf._informer import Forecasting, Parts, Window, recipes

PARTS = Parts.of(26_304)
UNI = recipes(Window(336, 960, "MT_320"), PARTS, channels=1, known=336, encoder=3, decoder=2)
MULTI = recipes(Window(336, 960), PARTS, channels=321, known=336, encoder=3, decoder=2)


class ECL(Forecasting):
    """Windows of ECL."""

    data_set = "ecl"
    parts = PARTS
