"""ETTm1, an electricity transformer: its parts and its recipes."""

from cab.tasks.long_range.lstf._informer import MONTH, Forecasting, Parts, Window, recipes

PARTS = Parts(48 * MONTH, 16 * MONTH, 16 * MONTH)
UNI = recipes(Window(384, 672, "OT"), PARTS, channels=1, known=384, encoder=2, decoder=1)
MULTI = recipes(Window(672, 672), PARTS, channels=7, known=384, encoder=2, decoder=1)


class ETTm1(Forecasting):
    """Windows of ETTm1."""

    data_set = "ettm1"
    parts = PARTS
