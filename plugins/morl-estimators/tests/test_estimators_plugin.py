"""What the plugin offers, and how it shares a name with the example plugin."""

from __future__ import annotations

import torch
from hypothesis import given, settings

from morl.plugins import Registry
from morl.reward.entry import RewardEntry, reward_bounds
from morl.testing import check_reward_provider, reward_matrices
from morl.types import Completion, Prompt
from morl_estimators import RLOO, TokenCost, plugin

PARTS = {
    "advantage estimator": {
        *("mo-grpo", "papo", "rloo", "reinforce++", "corr-grpo", "gd2po", "maxrl", "pareto-rank", "turn-level"),
    },
    "weighting": {"dvao", "sa-mrpo", "dara", "saw", "lagrangian", "ctwa"},
    "reward provider": {"token-cost"},
}


def test_every_name_can_be_loaded(monkeypatch):
    monkeypatch.setattr(plugin, "_installed", lambda name: False)
    registry = Registry(plugins=[plugin], discover=False)
    for kind, names in PARTS.items():
        offered = {each.name for each in registry.names(kind) if each.plugin.distribution != "morl-llm"}
        assert names <= offered
        assert all(callable(registry.find(kind, name).load()) for name in names)


def test_the_example_plugin_keeps_its_name(monkeypatch):
    monkeypatch.setattr(plugin, "_installed", lambda name: name == "morl-example")
    assert "rloo" not in plugin.morl_register_advantage_estimators()
    assert plugin.morl_register_advantage_estimators().keys() == PARTS["advantage estimator"] - {"rloo"}


@settings(max_examples=30, deadline=None)
@given(reward_matrices())
def test_rloo_is_leave_one_out_reward_by_reward(rewards):
    answer = RLOO()(rewards)
    for row, column in rewards.valid_BK.nonzero().tolist():
        others_B = (rewards.group_ids_B == rewards.group_ids_B[row]) & rewards.valid_BK[:, column]
        others_B[row] = False
        expected = torch.zeros((), dtype=torch.float64)
        if others_B.any():
            mean = rewards.values_BK[others_B, column].mean()
            expected = rewards.weights_K[column] * (rewards.values_BK[row, column] - mean)
        torch.testing.assert_close(answer.contributions_BK[row, column], expected)


def test_the_cost_of_tokens_is_a_reward_within_its_bounds():
    completions = [Completion(Prompt("hi"), "", tuple(range(n))) for n in (0, 3, 4, 7, 99)]
    check_reward_provider(lambda: TokenCost(3, ceiling=2.0), completions)
    entry = RewardEntry(TokenCost(3, ceiling=2.0))
    assert reward_bounds("cost", entry, ["cost"]) == {"cost": (-2.0, 0.0)}
