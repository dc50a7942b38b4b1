"""The committed counts of studies/counts are those that its program finds; the quick ones are counted again here."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

QUICK = 4
"""Largest group size, and with it number of rewards, that is counted again."""


@pytest.fixture(scope="module")
def study(repository) -> ModuleType:
    spec = importlib.util.spec_from_file_location("studies_counts", repository / "studies" / "counts" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def committed(study) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((study.HERE / "results.json").read_text(encoding="utf-8"))
    return found


def test_committed_counts_are_those_of_the_program(study, committed):
    assert [table["name"] for table in committed["tables"]] == [table.name for table in study.TABLES]
    compared = 0
    for table, found in zip(study.TABLES, committed["tables"], strict=True):
        for case, counts in zip(table.cases, found["cases"], strict=True):
            assert (counts["group_size"], counts["rewards"]) == (case.group_size, len(case.ranges))
            if max(case.group_size, len(case.ranges)) <= QUICK:
                assert study.count(case) == counts
                compared += 1
    assert compared == 12


def test_committed_counterexamples_are_those_of_the_program(study, committed):
    for name, given in study.COUNTEREXAMPLES.items():
        fresh = study.counterexample(*given)
        assert json.loads(json.dumps(fresh)) == committed["counterexamples"][name]


def test_gdpo_merges_nothing_of_equal_ranges_and_something_of_unequal(study, committed):
    assert study.merged_by_gdpo(study.Case(4, (study.BINARY,) * 2)) == 0
    assert study.merged_by_gdpo(study.Case(2, ((0, 3), study.BINARY))) > 0
    merged = committed["merged_by_gdpo"]
    assert [name for name, count in merged.items() if count] == ["one reward in {0, 3}, one in {0, 1}, G = 4"]


def test_the_plot_shows_every_table_and_estimator(study, committed):
    for svg in (study.plot(committed), (study.HERE / "counts.svg").read_text(encoding="utf-8")):
        words = [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
        for name in (*committed["estimators"], *(table["title"] for table in committed["tables"])):
            assert name in words
