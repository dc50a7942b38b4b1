"""What is tried of installed plugins, and that every law is explained where a failure says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from morl.authoring.trials import LAWS_PAGE, Trial, Untried, find_plugin, trials
from morl.plugins import Registry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def registry():
    return Registry()


def test_every_law_of_every_kind_is_explained_under_its_anchor(registry):
    headings = re.findall(r"^### (.*)$", (ROOT / LAWS_PAGE).read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    found = [each for plugin in registry.plugins[1:] for each in trials(registry, plugin) if isinstance(each, Trial)]
    kinds = {each.part.kind for each in found}
    assert {"prompt source", "reward provider", "advantage estimator", "weighting", "environment"} <= kinds
    assert "rollout-backend-contract" in anchors
    for each in found:
        page, _, anchor = each.page.partition("#")
        assert (page, anchor in anchors) == (LAWS_PAGE, True), each.page


def test_everything_of_the_example_is_tried_and_holds(registry):
    found = trials(registry, find_plugin(registry, "morl-example"))
    assert len(found) > 40
    for each in found:
        assert isinstance(each, Trial)
        each.run(2)


def test_morl_estimators_gives_what_its_parts_need_to_be_tried(registry):
    found = trials(registry, find_plugin(registry, "morl-estimators"))
    assert not [each for each in found if isinstance(each, Untried)]
    assert {each.part.name for each in found} >= {"papo", "lagrangian", "ctwa", "token-cost", "maxrl"}


def test_what_a_plugin_leaves_out_by_design_is_not_tried(registry):
    found = trials(registry, find_plugin(registry, "morl-example"))
    laws = {each.law for each in found if each.part.name == "unlike-others"}
    assert "alone" not in laws
    assert {"order", "pure"} <= laws


def test_every_plugin_here_says_what_its_parts_are_tried_with_or_why_they_are_not(registry):
    found = [each for plugin in registry.plugins[1:] for each in trials(registry, plugin) if isinstance(each, Untried)]
    unsaid = [f"{each.part.kind} {each.part.name}: {each.reason}" for each in found if "give " in each.reason]
    assert unsaid == []
    assert "judge" in {each.part.name for each in found}


@pytest.mark.parametrize("plugin", ["morl-bfcl", "morl-playground"])
def test_rewards_keep_their_laws_on_the_examples_of_their_plugin(registry, plugin):
    tried = [each for each in trials(registry, find_plugin(registry, plugin)) if each.part.kind == "reward provider"]
    assert tried
    for each in tried:
        assert isinstance(each, Trial), each
        each.run(None)
