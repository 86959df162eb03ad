"""Plots by matplotlib, made fit for a page: no styles, no metadata, colours by class.

The page's style sheet colours them, so that they follow light and dark; ids are prefixed, so that
several stand on one page; nothing in them depends on the time or on chance.
"""

import io
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from cab.scores.drawn import Interval
from cab.taxonomy import Family

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"

COLOURS: Mapping[str, str] = {
    "#000001": "ink",
    "#000002": "muted",
    "#000003": "band",
    **{f"#0001{number:02x}": family for number, family in enumerate(Family)},
}
"""Colours that no eye sees: each stands for a class of the style sheet."""
INK, MUTED, BAND = list(COLOURS)[:3]
OF_FAMILY = {name: colour for colour, name in COLOURS.items()}

MARKERS: Mapping[Family, str] = {
    Family.CONTROL: "x",
    Family.SOFTMAX: "o",
    Family.SPARSE: "s",
    Family.LINEAR: "D",
    Family.RECURRENT: "^",
    Family.HYBRID: "v",
    Family.CONVOLUTIONAL: "P",
    Family.FEATURE_MAP: "*",
}


@dataclass(frozen=True)
class Point:
    """An entry in a plane; front says that no other is both cheaper and better."""

    entry: str
    family: Family
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
    band: Interval | None,
    words: tuple[str, str],
) -> str:
    """Score against a cost, which grows to the right on a logarithmic axis.

    Args:
        name: a prefix for ids.
        points: what is drawn; entries on the front are labelled.
        label: of the cost.
        band: the noise band around score 1.
        words: title and description, for those who do not see it.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.4))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        if band is not None:
            axes.axhspan(band.low, band.high, color=BAND, linewidth=0)
        for end in (0.0, 1.0):
            axes.axhline(end, color=MUTED, linewidth=0.6)
        for family in Family:
            _scatter_family(axes, family, [one for one in points if one.family == family])
        for one in points:
            if one.front:
                axes.annotate(
                    one.entry, (one.x, one.y), (5, 5), textcoords="offset points", fontsize=9
                )
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis, [one.x for one in points])
        axes.margins(x=0.09)
        axes.set_xlabel(label)
        axes.set_ylabel("CAB score")
        return to_markup(figure, name, words)


def _plain_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Label a logarithmic axis with numbers, at 1, 2 and 5 unless it spans many decades."""
    wide = max(values) / min(values) > 300
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_locator(NullLocator())


def _scatter_family(axes: Axes, family: Family, points: Sequence[Point]) -> None:
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
        labels: of the axes.
        words: title and description, for those who do not see it.
        named: the entries that have a colour and a name (all by default); the others are thin.
        marked: lengths at which a line crosses another, or something ends.
        linear: the axes are linear instead, with ticks of their own.
    """
    families = list(Family)[1:]
    shown = [entry for entry in series if named is None or entry in named]
    with rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.4))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for entry in series:
            if entry not in shown:
                x, y = _columns(series[entry])
                axes.plot(x, y, color=MUTED, linewidth=0.4)
        for number, entry in enumerate(shown):
            family = families[number % len(families)]
            x, y = _columns(series[entry])
            colour = OF_FAMILY[family]
            axes.plot(x, y, MARKERS[family] + "-", color=colour, markersize=5, linewidth=1.2)
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
        _name_ends(axes, {entry: max(series[entry].items()) for entry in shown})
        return to_markup(figure, name, words) + _key(shown, families)


def _columns(values: Mapping[float, float]) -> tuple[list[float], list[float]]:
    lengths = sorted(values)
    return lengths, [values[length] for length in lengths]


def mark(family: str) -> Markup:
    """The sign of a family, by its colour and its shape, where a page defines these."""
    return Markup(
        '<svg class="mark f-{0}" viewBox="-6 -6 12 12" width="12" height="12" '
        'aria-hidden="true"><use href="#m-{0}" x="-6" y="-6" width="12" height="12"/></svg>'
    ).format(family)


def _key(names: Sequence[str], families: Sequence[Family]) -> str:
    """The names again, below the figure: on a phone the ends of the lines are a scroll away."""
    marks = [
        f"<span>{mark(family)} {escape(entry)}</span>"
        for entry, family in zip(names, itertools.cycle(families), strict=False)
    ]
    return f'<p class="legend ends">{"".join(marks)}</p>' if len(marks) > 1 else ""


def _name_ends(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Write each line's name beside its end, no two nearer than a line of text."""
    axes.autoscale_view()
    heights = {entry: axes.transData.transform(end)[1] for entry, end in ends.items()}
    points = 72 / axes.figure.dpi
    last = -float("inf")
    for entry in sorted(heights, key=lambda one: (heights[one], one)):
        wanted = heights[entry] * points
        last = max(wanted, last + 10)
        axes.annotate(
            entry, ends[entry], (7, last - wanted - 3), textcoords="offset points", fontsize=9
        )


_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cab",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.unicode_minus": True,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "mathtext.default": "regular",
}


def to_markup(figure: Figure, name: str, words: tuple[str, str]) -> str:
    """The figure as markup to stand in a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    ElementTree.register_namespace("", SVG[1:-1])
    root = ElementTree.fromstring(buffer.getvalue())
    used = set(re.findall(r"(?:href=\"#|url\(#)([\w.-]+)", buffer.getvalue()))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (SVG + "metadata", SVG + "style"):
                parent.remove(child)
    for element in root.iter():
        _clean(element, name, used)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.set("class", "plot")
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for place, (tag, text) in enumerate(zip(("title", "desc"), words, strict=True)):
        child = ElementTree.Element(SVG + tag, {"id": f"{name}-{tag}"})
        child.text = text
        root.insert(place, child)
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r"\s*\n\s*", "\n", text).replace(' xmlns="http://www.w3.org/2000/svg"', "")


def _clean(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """Turn styles into attributes and classes, prefix the ids that are used, drop the others."""
    own = element.attrib.pop("id", None)
    if own in used:
        element.set("id", f"{name}-{own}")
    link = element.attrib.pop(XLINK + "href", None)
    if link is not None:
        element.set("href", f"#{name}-{link[1:]}")
    if "clip-path" in element.attrib:
        element.set("clip-path", element.attrib["clip-path"].replace("#", f"#{name}-"))
    classes = []
    for entry in filter(None, element.attrib.pop("style", "").split(";")):
        key, _, value = (part.strip() for part in entry.partition(":"))
        if key in ("fill", "stroke") and value in COLOURS:
            classes.append(f"{key}-{COLOURS[value]}")
        elif key == "font":
            size = re.search(r"([\d.]+)px", value)
            element.set("font-size", size.group(1) if size else "10")
        else:
            element.set(key, value)
    for key in ("fill", "stroke"):
        if element.attrib.get(key) in COLOURS:
            classes.append(f"{key}-{COLOURS[element.attrib.pop(key)]}")
    if element.tag == SVG + "text" and not any(one.startswith("fill-") for one in classes):
        classes.append("fill-ink")
    if classes:
        element.set("class", " ".join(classes))
