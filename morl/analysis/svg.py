"""SVG that stands in a page: in the page's own ink, with a title for those who cannot see it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

INK = "#010203"
"""Colour of text and axes; nothing else has it, so that it can be replaced by the colour of the page's text."""
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_THEMES = (
    "svg{color:#202020}.paper{fill:#ffffff}@media(prefers-color-scheme:dark){svg{color:#e6e6e6}.paper{fill:#0d1117}}"
)
_COORDINATES = {"d", "x", "y"}
"""Attributes that matplotlib writes to a millionth of a point."""
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    # Names come from users, and a `$` in one is a dollar.
    "text.parse_math": False,
    "svg.fonttype": "none",
    # The same figure is the same file.
    "svg.hashsalt": "morl",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's settings for everything that is drawn and rendered here, whatever the user's own are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def page_svg(figure: Figure, title: str, name: str = "") -> str:
    """An `<svg>` element for an HTML page: it takes the text's colour, and is as wide as its column.

    Args:
        figure: drawn in the house style; about as wide as a telephone, for it is not scrolled.
        title: says what there is to see; a screen reader reads it instead.
        name: of the figure on its page: two figures with different names share no ids, so that none needs the other.
    """
    with matplotlib.rc_context({"svg.hashsalt": f"morl {name}"}):
        root = _render(figure)
    root.attrib.pop("width")
    root.attrib.pop("height")
    root.attrib |= {"role": "img", "aria-label": title}
    return _text(root, title).replace(INK, "currentColor")


def file_svg(figure: Figure, title: str) -> str:
    """A whole SVG file, dark on white: what an `<img>` shows has no page to take a colour from."""
    root = _render(figure)
    paper = ElementTree.Element(f"{{{_SVG}}}rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    root.insert(0, paper)
    return _text(root, title).replace(INK, "#202020") + "\n"


def themed_svg(figure: Figure, title: str) -> str:
    """A whole SVG file for an `<img>` that follows the reader's theme: dark on white, or light on dark.

    Colours of lines must be legible on both.
    """
    root = _render(figure)
    paper = ElementTree.Element(f"{{{_SVG}}}rect", {"width": "100%", "height": "100%", "class": "paper"})
    style = ElementTree.Element(f"{{{_SVG}}}style")
    style.text = _THEMES
    root.insert(0, paper)
    root.insert(0, style)
    return _text(root, title).replace(INK, "currentColor") + "\n"


def _render(figure: Figure) -> ElementTree.Element:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ElementTree.fromstring(file.getvalue())
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    return root


def _text(root: ElementTree.Element, title: str) -> str:
    """Without the ids that nothing refers to: several figures share a page, and each has its `figure_1`."""
    heading = ElementTree.Element(f"{{{_SVG}}}title")
    heading.text = title
    root.insert(0, heading)
    referred = set(re.findall(r"#([\w-]+)", ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        for name in _COORDINATES & element.attrib.keys():
            element.set(name, re.sub(r"(\.\d\d)\d+", r"\1", element.attrib[name]))
        if element.get("id") not in referred:
            element.attrib.pop("id", None)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")
