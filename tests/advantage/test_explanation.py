"""Every number of docs/explanation/estimators.md comes out as it stands there."""

from __future__ import annotations

import doctest
from pathlib import Path


def test_the_explanation_is_true() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "estimators.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 30
    assert result.failed == 0
