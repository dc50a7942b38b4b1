"""What the pages share: templates that escape everything, the style, pictures of panels, swatches of a legend."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from attrs import frozen

from morl.analysis.looks import Look

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from morl.analysis.drawing import Plot

_MARKERS = {
    "o": "M13 5a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
    "s": "M13 2h6v6h-6z",
    "^": "M16 1.5l3.6 6.5h-7.2z",
    "D": "M16 1l4 4l-4 4l-4-4z",
    "v": "M16 8.5l3.6-6.5h-7.2z",
    "p": "M16 1.4l3.7 2.7l-1.4 4.4h-4.6l-1.4-4.4z",
    ">": "M12.8 1.4v7.2l6.5-3.6z",
    "h": "M16 1.2l3.4 1.9v3.8l-3.4 1.9l-3.4-1.9v-3.8z",
}
"""Paths in a box of 32 by 10."""


@frozen
class Picture:
    """A plot on a page.

    Attributes:
        panels: heading and SVG of each.
        legend: swatch and name.
    """

    name: str
    title: str
    panels: list[tuple[str, Markup]]
    legend: list[tuple[Markup, str]]


def environment(package: str) -> Environment:
    """Jinja's, for the templates of a package and the parts in this one; every value is escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def source(name: str) -> str:
        home = "morl.analysis" if name.startswith("parts/") else package
        return files(home).joinpath(name.removeprefix("parts/")).read_text("utf-8")

    return Environment(
        loader=FunctionLoader(source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def picture(plot: Plot, visible: Callable[[str], str] = str) -> Picture:
    """Renders the panels of a plot one by one; call within `house_style`.

    Args:
        visible: of a text from a run, what may be shown of it.
    """
    from markupsafe import Markup

    from morl.analysis.svg import page_svg

    found = []
    for number, (panel, figure) in enumerate(zip(plot.panels, plot.figures(), strict=True)):
        heading = visible(panel.title)
        label = f"{plot.title}: {heading}" if heading else plot.title
        found.append((heading, Markup(page_svg(figure, label.replace("\n", ", "), f"{plot.name} {number}"))))
    legend = [(swatch(look, plot.dashes, plot.marks), visible(name)) for name, look in plot.look.items()]
    return Picture(plot.name, plot.title, found, legend)


def swatch(look: Look, dashes: bool = True, marks: bool = True) -> Markup:
    """A piece of a line, as a legend has it."""
    from markupsafe import Markup

    parts = []
    if dashes:
        pattern: Any = (
            "" if look.dash == "-" else f' stroke-dasharray="{" ".join(f"{n * 1.6:g}" for n in look.dash[1])}"'
        )
        parts.append(f'<path d="M0 5H32" stroke="{look.colour}" stroke-width="2"{pattern}/>')
    if marks:
        parts.append(f'<path d="{_MARKERS[look.marker]}" fill="{look.colour}"/>')
    return Markup(f'<svg class="swatch" viewBox="0 0 32 10" aria-hidden="true">{"".join(parts)}</svg>')
