"""The README's picture is drawn from what is committed, and can be read in both themes."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "studies"))

import picture  # noqa: E402

from morl.analysis.results import Results  # noqa: E402
from morl.analysis.svg import INK  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_that_of_the_committed_results():
    drawn = picture.draw(Results.load(ROOT / "studies" / "weights" / "results.json"))
    committed = (ROOT / "studies" / "picture.svg").read_text(encoding="utf-8")
    texts = [[element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")] for svg in (drawn, committed)]
    assert texts[0] == texts[1]
    assert {"grpo, weight 1", "grpo, weight 3", "grpo, weight 6", "gdpo, weight 1"} <= set(texts[0])
    titles = [ElementTree.fromstring(svg).findtext(f"{SVG}title") for svg in (drawn, committed)]
    assert titles[0] == titles[1]
    assert "studies/picture.svg" in (ROOT / "README.md").read_text(encoding="utf-8")


def contrast(one: str, other: str) -> float:
    """Of two colours, from 1 to 21, as the WCAG defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def test_it_can_be_read_on_light_and_on_dark():
    text = (ROOT / "studies" / "picture.svg").read_text(encoding="utf-8")
    assert "prefers-color-scheme:dark" in text
    assert INK not in text, "all text takes the colour of the theme"
    for ink, paper in (("#202020", "#ffffff"), ("#e6e6e6", "#0d1117")):
        assert ink in text
        assert paper in text
        assert contrast(ink, paper) > 7
        for _, colour, _ in picture.LINES.values():
            assert contrast(colour, paper) >= 3, "WCAG 2.1, graphical objects"
