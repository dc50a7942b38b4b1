"""Lines of a report: a colour belongs to an estimator, and no two lines look alike."""

from __future__ import annotations

import pytest

from morl.analysis.looks import DASHES, ESTIMATORS, MARKERS, PALETTE, colour_of, looks_of


def test_an_estimator_has_one_colour_in_every_report():
    small = looks_of({"a": "gdpo", "b": "grpo"})
    large = looks_of({"z": "rloo", "b": "grpo", "c": "dvao", "gdpo at weight 3": "gdpo", "gdpo": "gdpo"})
    assert small["a"].colour == large["gdpo"].colour == large["gdpo at weight 3"].colour
    assert small["b"].colour == large["b"].colour
    assert looks_of({"x": "rloo", "y": "gdpo"})["x"].colour == large["z"].colour


def test_morls_own_estimators_have_colours_that_no_other_has():
    assert len(set(ESTIMATORS.values())) == len(ESTIMATORS)
    others = {colour_of(f"estimator {number}") for number in range(200)}
    assert others == set(range(len(PALETTE))) - set(ESTIMATORS.values()), "every place that is left is used"


@pytest.mark.parametrize("lines", [7, 24, len(DASHES) * len(MARKERS)])
@pytest.mark.parametrize("estimators", [1, 2, 7])
def test_more_lines_than_colours_never_look_alike(lines, estimators):
    found = looks_of({f"line {n}": f"estimator {n % estimators}" for n in range(lines)})
    assert len({(look.colour, str(look.dash), look.marker) for look in found.values()}) == lines


def test_lines_of_the_only_estimator_are_told_apart_by_colour():
    found = looks_of({f"line {n}": "gdpo" for n in range(len(PALETTE))})
    assert len({look.colour for look in found.values()}) == len(PALETTE)
    assert found["line 0"].colour == PALETTE[ESTIMATORS["gdpo"]]
