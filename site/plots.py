"""Plots by matplotlib: score against cost, and lines against length."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from cab.scores.estimates import Interval
from cab.site.labels import name_ends, write_beside
from cab.site.svg import MUTED, OF_FAMILY, STYLE, UNKNOWN, to_markup
from cab.taxonomy import Family

DASHES: Sequence[tuple[float, ...]] = (
    (), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (9, 3), (6, 2, 1.5, 2, 1.5, 2), (3, 3), (9, 2, 3, 2),
)  # fmt: skip
"""The dashes of the lines of one family in a figure: the first line is unbroken."""

MARKERS: Mapping[str, str] = {
    Family.CONTROL: "x",
    Family.SOFTMAX: "o",
    Family.SPARSE: "s",
    Family.LINEAR: "D",
    Family.RECURRENT: "^",
    Family.HYBRID: "v",
    Family.CONVOLUTIONAL: "P",
    Family.FEATURE_MAP: "*",
    UNKNOWN: "o",
}
"""Each family has the same marker and colour on every page and in every figure."""


@dataclass(frozen=True)
class Point:
    """An entry in a plane; front says that no other is both cheaper and better."""

    entry: str
    family: str
    x: float
    y: float
    interval: Interval | None
    front: bool


def front(points: Sequence[tuple[str, float, float]]) -> set[str]:
    """The entries that no other beats: none has a smaller x and a larger y, or one as good."""
    return {
        name
        for name, x, y in points
        if not any(
            (a <= x and b >= y) and (a < x or b > y) for other, a, b in points if other != name
        )
    }


def scatter(
    name: str,
    points: Sequence[Point],
    label: str,
    reference: float | None,
    words: tuple[str, str],
    height: str = "CAB score",
) -> str:
    """Score against a cost, which grows to the right on a logarithmic axis.

    Args:
        name: a prefix for ids.
        points: what is drawn; entries on the front are labelled.
        label: of the cost.
        reference: a score that is drawn as a dashed line, such as that of softmax.
        words: title and description, for those who do not see it.
        height: what the vertical axis shows; 0 and 1 are marked on it.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        if reference is not None:
            axes.axhline(reference, color=MUTED, linewidth=0.8, linestyle="--")
        for end in (0.0, 1.0):
            axes.axhline(end, color=MUTED, linewidth=0.6)
        for family in MARKERS:
            _scatter_family(axes, family, [one for one in points if one.family == family])
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis, [one.x for one in points])
        axes.margins(x=0.09)
        axes.set_xlabel(label)
        axes.set_ylabel(height)
        figure.draw_without_rendering()
        write_beside(axes, {one.entry: (one.x, one.y) for one in points if one.front})
        return to_markup(figure, name, words)


def _plain_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Label a logarithmic axis with numbers, at 1, 2 and 5 unless it spans many decades."""
    wide = max(values) / min(values) > 300
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_locator(NullLocator())


def _scatter_family(axes: Axes, family: str, points: Sequence[Point]) -> None:
    colour = OF_FAMILY[family]
    for one in points:
        if one.interval is not None:
            axes.plot(
                [one.x, one.x], [one.interval.low, one.interval.high], color=colour, linewidth=0.8
            )
    if points:
        x, y = [one.x for one in points], [one.y for one in points]
        axes.plot(x, y, MARKERS[family], color=colour, markersize=6, label=family)


def lines(
    name: str,
    series: Mapping[str, Mapping[float, float]],
    families: Mapping[str, str],
    labels: tuple[str, str],
    words: tuple[str, str],
    named: Collection[str] | None = None,
    marked: Sequence[float] = (),
    linear: bool = False,
) -> str:
    """Costs or losses against length, a line per entry, on two logarithmic axes.

    Args:
        name: a prefix for ids.
        series: values by length.
        families: of each entry its family, whose colour and sign it has; entries of one family
            differ in their dashes and in the name at the end of the line.
        labels: of the axes.
        words: title and description, for those who do not see it.
        named: the entries that have a colour and a name (all by default); the others are thin.
        marked: lengths at which a line crosses another, or something ends.
        linear: the axes are linear instead, with ticks of their own.
    """
    shown = [entry for entry in series if named is None or entry in named]
    dashes = dashes_of(shown, families)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for entry in series:
            if entry not in shown:
                x, y = _columns(series[entry])
                axes.plot(x, y, color=MUTED, linewidth=0.4)
        for entry in shown:
            x, y = _columns(series[entry])
            sign, colour = MARKERS[families[entry]], OF_FAMILY[families[entry]]
            (line,) = axes.plot(x, y, sign + "-", color=colour, markersize=5, linewidth=1.2)
            if dashes[entry]:
                line.set_dashes(dashes[entry])
        for length in marked:
            axes.axvline(length, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        if not linear:
            axes.set_xscale("log")
            axes.set_yscale("log")
            lengths = sorted({x for values in series.values() for x in values})
            axes.set_xticks(lengths, [f"{length:,.0f}" for length in lengths])
            axes.xaxis.set_minor_locator(NullLocator())
            _plain_ticks(axes.yaxis, [y for values in series.values() for y in values.values()])
        axes.margins(x=0.12)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        name_ends(axes, {entry: max(series[entry].items()) for entry in shown})
        return to_markup(figure, name, words) + _key(shown, families, dashes)


def dashes_of(entries: Sequence[str], families: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
    """Give each entry dashes that no other of its family has; the first of a family has none."""
    found, seen = {}, dict.fromkeys(families.values(), 0)
    for entry in entries:
        number = seen[families[entry]]
        rounds, place = divmod(number, len(DASHES))
        # More than there are patterns: longer and longer first strokes.
        found[entry] = (*((9 + 3 * rounds, 2) if rounds else ()), *DASHES[place])
        seen[families[entry]] += 1
    return found


def _columns(values: Mapping[float, float]) -> tuple[list[float], list[float]]:
    lengths = sorted(values)
    return lengths, [values[length] for length in lengths]


def mark(family: str) -> Markup:
    """The sign of a family, by its colour and its shape, where a page defines these."""
    return Markup(
        '<svg class="mark f-{0}" viewBox="-6 -6 12 12" width="12" height="12" '
        'aria-hidden="true"><use href="#m-{0}" x="-6" y="-6" width="12" height="12"/></svg>'
    ).format(family)


def _key(
    names: Sequence[str],
    families: Mapping[str, str],
    dashes: Mapping[str, tuple[float, ...]],
) -> str:
    """The names again, below the figure: on a phone the ends of the lines are a scroll away."""
    marks = [
        f"<span>{_dash(families[entry], dashes[entry])}{mark(families[entry])} "
        f"{escape(entry)}</span>"
        for entry in names
    ]
    return f'<p class="legend ends">{"".join(marks)}</p>' if len(marks) > 1 else ""


def _dash(family: str, dashes: Sequence[float]) -> str:
    """A piece of a line, as the figure draws it."""
    strokes = " ".join(f"{1.2 * one:g}" for one in dashes)
    broken = f' stroke-dasharray="{strokes}"' if dashes else ""
    colour = "muted" if family == UNKNOWN else family
    return (
        f'<svg viewBox="0 0 34 8" width="34" height="8" aria-hidden="true"><line x1="0" x2="34" '
        f'y1="4" y2="4" class="stroke-{colour}" stroke-width="1.4"{broken}/></svg>'
    )
