"""Drawing: SVG files that change only with their numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cab.errors import CabError


@contextmanager
def figure(
    path: Path, rows: int = 1, columns: int = 1, size: tuple[float, float] = (5.6, 3.8)
) -> Iterator[Any]:
    """Yield a grid (rows, columns) of axes to draw on, and write them to an SVG file.

    size: inches (width, height) of one of them.

    Raises:
        CabError: the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Fixed names of the elements, letters as text: the same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": "cab", "svg.fonttype": "none"}):
        drawing = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        yield drawing.subplots(rows, columns, squeeze=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            drawing.savefig(path, format="svg", metadata={"Date": None})
        except OSError as error:
            raise CabError(f"The figure {path} cannot be written: {error}.") from None
