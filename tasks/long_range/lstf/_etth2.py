"""ETTh2, a second electricity transformer: its parts and its recipes."""

from cab.tasks.long_range.lstf._informer import MONTH, Forecasting, Parts, Window, recipes

PARTS = Parts(12 * MONTH, 4 * MONTH, 4 * MONTH)
UNI = recipes(Window(336, 720, "OT"), PARTS, channels=1, known=336, encoder=2, decoder=1)
MULTI = recipes(Window(720, 720), PARTS, channels=7, known=336, encoder=2, decoder=1)


class ETTh2(Forecasting):
    """Windows of ETTh2."""

    data_set = "etth2"
    parts = PARTS
