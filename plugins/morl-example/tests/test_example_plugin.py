"""What the plugin registers, as morl and its users see it."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch

from morl.errors import ConfigError
from morl.plugins import Registry
from morl.types import RewardMatrix
from morl_example import plugin
from morl_example.prompts import WORDS, WordList
from morl_example.rloo import RLOO


def test_every_part_is_found_under_its_name_and_can_be_made():
    (info,) = (found for found in Registry().plugins if found.distribution == "morl-example")
    assert info.error is None
    assert info.offers == {
        "prompt source": ["word-list"],
        "reward provider": ["keywords", "distinct-ngrams", "unlike-others"],
        "advantage estimator": ["rloo"],
        "environment": ["guess"],
    }
    assert info.observes == ["morl_advantages_ready"]
    for kind, names in info.offers.items():
        for name in names:
            assert Registry().find(kind, name).load()()


def test_finding_the_plugin_imports_none_of_its_parts():
    code = "import sys, morl_example.plugin; print({'torch', 'morl_example.rloo'} & {*sys.modules} or 'none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"


def test_prompts_are_the_same_on_every_call_and_name_their_keywords():
    source = WordList(size=20, words=2, seed=7)
    prompts = source.load()
    assert len(prompts) == 20
    assert [prompt.content for prompt in prompts] == [prompt.content for prompt in source.load()]
    assert [prompt.content for prompt in prompts] != [prompt.content for prompt in WordList(size=20, words=2).load()]
    for prompt in prompts:
        assert len(set(prompt.columns["keywords"])) == 2
        assert all(keyword in prompt.content for keyword in prompt.columns["keywords"])


def test_there_are_only_so_many_words():
    with pytest.raises(ConfigError, match=f"words must be at most {len(WORDS)}.* got 99"):
        WordList(words=99)


@pytest.mark.parametrize(
    ("values", "warns"),
    [
        ([[[1.0, 0.0], [1.0, 0.0]]], True),  # no reward differs
        ([[[1.0, 0.0], [0.0, 1.0]]], True),  # the two cancel
        ([[[1.0, 0.0], [0.0, 0.0]]], False),
    ],
)
def test_a_step_with_nothing_to_learn_from_is_told(values, warns, caplog):
    rewards = RewardMatrix.from_groups(torch.tensor(values))
    with caplog.at_level(logging.WARNING):
        plugin.morl_advantages_ready(step=3, rewards=rewards, advantages=RLOO()(rewards))
    assert [message.startswith("step 4: every advantage is 0") for message in caplog.messages] == [True] * warns
