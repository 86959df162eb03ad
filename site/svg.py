"""Figures of matplotlib, made fit for a page: no styles, no metadata, colours by class.

The page's style sheet colours them, so that they follow light and dark; ids are prefixed, so that
several stand on one page; nothing in them depends on the time or on chance.
"""

import io
import re
from collections.abc import Mapping
from xml.etree import ElementTree

from matplotlib.figure import Figure

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
UNKNOWN = "unknown"
"""The family of what has no card here."""
OF_FAMILY: Mapping[str, str] = {
    **{family: f"#0001{number:02x}" for number, family in enumerate(Family)},
    UNKNOWN: MUTED,
}

STYLE = {
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
