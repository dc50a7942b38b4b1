"""The providers as morl uses them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from morl.advantage import GDPO
from morl.errors import ConfigError
from morl.hookspecs import PromptSource, RewardProvider
from morl.plugins import Registry
from morl.reward import RewardEntry, RewardScorer
from morl.testing import check_reward_provider
from morl.types import Completion, Prompt, RewardMatrix
from morl_toolcall import plugin
from morl_toolcall.rewards import CorrectnessReward, FormatReward, SurplusReward, ToolCallReward

CALL = '<tool_call>\n{"name": "f", "parameters": {"a": 1}}\n</tool_call>'
GOLD = "<think> hm </think>\n" + CALL
MESSAGES = [{"role": "system", "content": "Tools: f"}, {"role": "user", "content": "Call f with 1."}]


def completion(text: str, **columns: Any) -> Completion:
    return Completion(Prompt(MESSAGES, columns), text, (1,))


def offered(registry: Registry, kind: str) -> set[str]:
    return {part.name for part in registry.names(kind)}


def test_the_installed_plugin_offers_its_parts() -> None:
    registry = Registry()
    assert {"toolcall", "toolcall-format", "toolcall-correctness", "toolcall-surplus"} <= offered(
        registry, "reward provider"
    )
    assert "toolrl" in offered(registry, "prompt source")


def test_every_path_of_the_plugin_can_be_imported() -> None:
    registry = Registry([plugin], discover=False)
    for name in plugin.morl_register_reward_providers():
        assert isinstance(registry.find("reward provider", name).load()(), RewardProvider)
    assert isinstance(registry.find("prompt source", "toolrl").load()("x.jsonl"), PromptSource)


@pytest.mark.parametrize("provider", [FormatReward, CorrectnessReward, SurplusReward, ToolCallReward])
@pytest.mark.parametrize("variant", ["precise", "paper", "toolrl"])
def test_the_providers_keep_the_contract(provider: type, variant: str) -> None:
    texts = (GOLD, CALL, "", CALL.replace("1", "2"), "<think> a </think>\n<response> b </response>")
    batch = [completion(text, ground_truth=gold) for gold in (GOLD, texts[-1]) for text in texts]
    check_reward_provider(lambda: provider(variant=variant), batch)


def test_both_at_once_are_the_two_by_themselves() -> None:
    batch = [completion(text, ground_truth=GOLD) for text in (GOLD, CALL, "", CALL.replace("1", "2"))]
    both = ToolCallReward(think=False).score(batch)
    assert tuple(both) == ToolCallReward.reward_names
    assert both["format"] == FormatReward(think=False).score(batch) == [1.0, 1.0, 0.0, 1.0]
    assert both["correctness"] == CorrectnessReward().score(batch) == [3.0, 3.0, -3.0, 1.0]


@pytest.mark.parametrize("provider", [FormatReward, CorrectnessReward, SurplusReward, ToolCallReward])
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


@pytest.mark.parametrize("provider", [FormatReward, CorrectnessReward, SurplusReward, ToolCallReward])
def test_an_unknown_variant_is_refused(provider: Any) -> None:
    with pytest.raises(
        ConfigError, match="must be 'precise', 'paper' or 'toolrl'; got 'toolr1'; did you mean 'toolrl'"
    ):
        provider(variant="toolr1")


@pytest.mark.parametrize("provider", [FormatReward, ToolCallReward])
def test_toolrl_without_thinking_is_refused(provider: Any) -> None:
    with pytest.raises(ConfigError, match="variant 'toolrl' always requires <think>"):
        provider(variant="toolrl", think=False)


@pytest.mark.parametrize("provider", [CorrectnessReward, SurplusReward, ToolCallReward])
def test_toolrl_read_strictly_is_refused(provider: Any) -> None:
    with pytest.raises(ConfigError, match="variant 'toolrl' has its own way of reading"):
        provider(variant="toolrl", lenient=False)


@pytest.mark.parametrize("provider", [FormatReward, CorrectnessReward, SurplusReward, ToolCallReward])
def test_options_that_the_variant_does_not_have_are_refused(provider: Any) -> None:
    with pytest.raises(ConfigError, match="variant 'toolrl' has its own way of reading; leave out call_forms"):
        provider(variant="toolrl", call_forms=["arguments"])
    with pytest.raises(ConfigError, match="chat_markers belongs to variant 'toolrl'"):
        provider(chat_markers="qwen")
    with pytest.raises(ConfigError, match="chat_markers must be 'qwen', 'llama' or 'keep'; got 'gwen'"):
        provider(variant="toolrl", chat_markers="gwen")
    with pytest.raises(ConfigError, match="call_forms has the unknown name 'argument'; did you mean 'arguments'"):
        provider(call_forms=["argument"])


@pytest.mark.parametrize("provider", [CorrectnessReward, ToolCallReward])
def test_tolerance_is_checked(provider: Any) -> None:
    with pytest.raises(ConfigError, match="tolerate has the unknown name 'cases'; did you mean 'case'"):
        provider(tolerate=["cases"])
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="number_error must be a share"):
            provider(number_error=wrong)
    for option in ({"tolerate": ["case"]}, {"number_error": 0.1}):
        with pytest.raises(ConfigError, match="variant 'toolrl' compares values as Python does"):
            provider(variant="toolrl", **option)


def test_the_formula_is_a_choice() -> None:
    sprayed = completion(CALL + CALL, ground_truth=GOLD)
    scores = {
        variant: CorrectnessReward(variant=variant).score([sprayed]) for variant in ("precise", "paper", "toolrl")
    }
    assert scores == {"precise": [0.0], "paper": [3.0], "toolrl": [3.0]}  # the last reads the first block only
    assert CorrectnessReward().score([sprayed]) == ToolCallReward().score([sprayed])["correctness"] == [0.0]


def test_surplus_calls_are_a_column_in_each_variant() -> None:
    lines = '\n{"name": "f", "parameters": {"a": 2}}\n{"name": "g", "parameters": {}}\n</tool_call>'
    sprayed = completion(CALL.replace("\n</tool_call>", lines), ground_truth=GOLD)
    right = completion(CALL, ground_truth=GOLD)
    for variant in ("precise", "paper", "toolrl"):
        scores = SurplusReward(variant=variant).score([sprayed, right, completion("", ground_truth=GOLD)])
        assert scores == [-2.0, 0.0, 0.0]
        assert str(scores[1]) == "0.0"  # not -0.0
    bare = completion(CALL + CALL, ground_truth=GOLD)
    assert SurplusReward(lenient=False).score([bare, sprayed]) == [0.0, -2.0]


def test_a_surplus_of_weight_0_is_logged_and_teaches_nothing() -> None:
    batch = [completion(text, ground_truth=GOLD) for text in (GOLD, CALL + CALL, CALL, "")]
    entries = {"correctness": RewardEntry(CorrectnessReward())}
    with_metric = {**entries, "surplus": RewardEntry(SurplusReward(), weight=0.0)}
    advantages = []
    for chosen in (entries, with_metric):
        scorer = RewardScorer(chosen)
        scores = scorer.score(batch)
        matrix = RewardMatrix(scores.values_BK, torch.zeros(4, dtype=torch.int64), scorer.names, scorer.weights)
        advantages.append(GDPO()(matrix).values_B.tolist())
        scorer.close()
    assert scores.values_BK[:, 1].tolist() == [0.0, -1.0, 0.0, 0.0]
    assert advantages[0] == advantages[1]


def test_a_prompt_may_open_the_thinking() -> None:
    batch = [completion(text, ground_truth=GOLD) for text in (GOLD.removeprefix("<think>"), CALL, GOLD)]
    for variant, correct in (("precise", [3.0, -3.0, 3.0]), ("paper", [3.0, -3.0, 3.0]), ("toolrl", [3.0, 3.0, 3.0])):
        both = ToolCallReward(opened_by_prompt=True, variant=variant).score(batch)
        # The released form lets repeated thoughts pass, and its correctness reads calls in thoughts.
        assert both["format"] == [1.0, 0.0, 1.0 if variant == "toolrl" else 0.0]
        assert both["format"] == FormatReward(opened_by_prompt=True, variant=variant).score(batch)
        assert both["correctness"] == correct
        assert FormatReward(variant=variant).score(batch[:1]) == [0.0]
    assert SurplusReward(opened_by_prompt=True).score([completion(CALL + CALL, ground_truth=GOLD)]) == [0.0]
