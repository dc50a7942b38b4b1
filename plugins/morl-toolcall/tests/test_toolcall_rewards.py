"""The providers as morl uses them."""

from __future__ import annotations

from typing import Any

import pytest

from morl.errors import ConfigError
from morl.hookspecs import PromptSource, RewardProvider
from morl.plugins import Registry
from morl.types import Completion, Prompt
from morl_toolcall import plugin
from morl_toolcall.rewards import CorrectnessReward, FormatReward, ToolCallReward

CALL = '<tool_call>\n{"name": "f", "parameters": {"a": 1}}\n</tool_call>'
GOLD = "<think> hm </think>\n" + CALL
MESSAGES = [{"role": "system", "content": "Tools: f"}, {"role": "user", "content": "Call f with 1."}]


def completion(text: str, **columns: Any) -> Completion:
    return Completion(Prompt(MESSAGES, columns), text, (1,))


def offered(registry: Registry, kind: str) -> set[str]:
    return {part.name for part in registry.names(kind)}


def test_the_installed_plugin_offers_its_parts() -> None:
    registry = Registry()
    assert {"toolcall", "toolcall-format", "toolcall-correctness"} <= offered(registry, "reward provider")
    assert "toolrl" in offered(registry, "prompt source")


def test_every_path_of_the_plugin_can_be_imported() -> None:
    registry = Registry([plugin], discover=False)
    for name in plugin.morl_register_reward_providers():
        assert isinstance(registry.find("reward provider", name).load()(), RewardProvider)
    assert isinstance(registry.find("prompt source", "toolrl").load()("x.jsonl"), PromptSource)


def test_both_at_once_are_the_two_by_themselves() -> None:
    batch = [completion(text, ground_truth=GOLD) for text in (GOLD, CALL, "", CALL.replace("1", "2"))]
    both = ToolCallReward(think=False).score(batch)
    assert tuple(both) == ToolCallReward.reward_names
    assert both["format"] == FormatReward(think=False).score(batch) == [1.0, 1.0, 0.0, 1.0]
    assert both["correctness"] == CorrectnessReward().score(batch) == [3.0, 3.0, -3.0, 1.0]


@pytest.mark.parametrize("provider", [FormatReward, CorrectnessReward, ToolCallReward])
def test_the_reference_answer_may_stand_in_another_column(provider: Any) -> None:
    reward = provider(ground_truth="gold")
    assert reward.required_columns == ("gold",)
    assert reward.score([completion(GOLD, gold=GOLD)])
    assert provider(variant="toolrl").score([completion(GOLD, ground_truth=GOLD)])


def test_options_reach_the_graders() -> None:
    bare = completion(CALL.replace("</tool_call>", ""), ground_truth=GOLD)
    unthinking = completion(CALL, ground_truth=GOLD)
    assert FormatReward().score([unthinking]) == [0.0]
    assert CorrectnessReward(lenient=False).score([bare]) == [-3.0]
    assert CorrectnessReward(variant="toolrl").score([bare]) == [-3.0]
    assert FormatReward(variant="toolrl").score([completion(GOLD, ground_truth=GOLD)]) == [1.0]


@pytest.mark.parametrize("provider", [FormatReward, CorrectnessReward, ToolCallReward])
def test_an_unknown_variant_is_refused(provider: Any) -> None:
    with pytest.raises(ConfigError, match="variant must be 'paper' or 'toolrl'; got 'toolr1'"):
        provider(variant="toolr1")


@pytest.mark.parametrize("provider", [FormatReward, ToolCallReward])
def test_toolrl_without_thinking_is_refused(provider: Any) -> None:
    with pytest.raises(ConfigError, match="variant 'toolrl' always requires <think>"):
        provider(variant="toolrl", think=False)


@pytest.mark.parametrize("provider", [CorrectnessReward, ToolCallReward])
def test_toolrl_read_strictly_is_refused(provider: Any) -> None:
    with pytest.raises(ConfigError, match="variant 'toolrl' has its own way of reading"):
        provider(variant="toolrl", lenient=False)
