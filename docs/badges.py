"""Draws the README's badges: `python docs/badges.py`.  They are files, so that no page asks another server for them."""

from __future__ import annotations

import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PROJECT = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHARACTER, MARGIN, HEIGHT = 6.6, 7, 20
"""Widths in pixels, of Verdana at 11 px."""


def badge(name: str, value: str, colour: str) -> str:
    """An SVG of two boxes."""
    left, right = (round(len(text) * CHARACTER) + 2 * MARGIN for text in (name, value))
    text = 'font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" fill="#fff" text-anchor="middle"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img">'
        f"<title>{name}: {value}</title>"
        f'<rect width="{left + right}" height="{HEIGHT}" rx="3" fill="#444"/>'
        f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1 -3 3h-{right - 3}z" fill="{colour}"/>'
        f'<text x="{left / 2}" y="14" {text}>{name}</text>'
        f'<text x="{left + right / 2}" y="14" {text}>{value}</text></svg>\n'
    )


BADGES = {  # file in images/ -> picture
    "python": badge("python", PROJECT["requires-python"].removeprefix(">=") + " or newer", "#3776ab"),
    "licence": badge("licence", PROJECT["license"], "#2e7d32"),
    "types": badge("mypy", "strict", "#2a6db2"),
    "trl": badge("estimators in", "TRL, verl, slime, ..", "#8250a8"),
}

if __name__ == "__main__":
    for name, picture in BADGES.items():
        (DOCS / "images" / f"{name}.svg").write_text(picture, encoding="utf-8")
