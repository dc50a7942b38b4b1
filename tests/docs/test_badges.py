"""The README's badges say what pyproject.toml says."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_badges_are_up_to_date():
    badges = runpy.run_path(str(DOCS / "badges.py"))["BADGES"]
    drawn = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "images").glob("*.svg")}
    assert badges == drawn, "run: python docs/badges.py"
    assert "3.11 or newer" in badges["python"]
