"""Names in a figure, where none covers another."""

from collections.abc import Mapping

from matplotlib.axes import Axes

SIZE = 9
"""Points. A page's letters are not matplotlib's: a name is taken to be as wide as wide letters."""
LETTER = 0.62
LINE = 1.25
Box = tuple[float, float, float, float]


def write_beside(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write each point's name beside it, in the nearest place that is free.

    The axes are drawn before, so that it is known where their points are.
    """
    scale = 72 / axes.figure.dpi
    places = {name: scale * axes.transData.transform(at) for name, at in points.items()}
    frame = axes.get_window_extent()
    right = scale * frame.x1
    taken: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in places.values()]
    for name in sorted(places, key=lambda one: (-places[one][1], places[one][0], one)):
        x, y = places[name]
        width, height = LETTER * SIZE * len(name), LINE * SIZE
        free = [
            (left, up)
            for distance in range(40)
            for up in (5 + 3 * distance, -height - 3 - 3 * distance)
            for left in (5.0, -width - 5)
            if x + left + width < right + 12
            and not any(_overlap((x + left, y + up, x + left + width, y + up + height), other)
                        for other in taken)
        ]  # fmt: skip
        left, up = free[0] if free else (5.0, 5.0)
        taken.append((x + left, y + up, x + left + width, y + up + height))
        far = abs(up) > 2 * height
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": axes.xaxis.label.get_color()}
        axes.annotate(
            name,
            points[name],
            (left, up),
            textcoords="offset points",
            fontsize=SIZE,
            arrowprops=line if far else None,
        )


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def name_ends(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Write each line's name beside its end, no two nearer than a line of text."""
    axes.autoscale_view()
    heights = {entry: axes.transData.transform(end)[1] for entry, end in ends.items()}
    points = 72 / axes.figure.dpi
    last = -float("inf")
    for entry in sorted(heights, key=lambda one: (heights[one], one)):
        wanted = heights[entry] * points
        last = max(wanted, last + 10)
        axes.annotate(
            entry, ends[entry], (7, last - wanted - 3), textcoords="offset points", fontsize=SIZE
        )
