"""slime, ms-swift and NeMo-RL on stubs with their signatures."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from attrs import define

from morl.advantage import GDPO, GRPO, Conditioned
from morl.errors import ConfigError
from morl.integrations import ms_swift, nemo_rl, slime
from morl.integrations.matrix import Seam, estimator, matrix
from morl.integrations.stateful import check_parts
from morl.types import RewardMatrix

CORRECT, BRIEF = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0], [0.2, 0.9, None, 0.1, 0.7, 0.3]
CONDITIONS = {"brief": {"on": "correct"}}


def expected(groups, kept=range(6)):
    """By morl itself."""
    brief = [torch.nan if score is None else score for score in BRIEF]
    values = torch.tensor([CORRECT, brief], dtype=torch.float64).T[[*kept]]
    rewards = RewardMatrix(values, torch.tensor(groups)[[*kept]], ("correct", "brief"), {"brief": 0.5})
    values_B = Conditioned(GDPO(eps=0), CONDITIONS)(rewards).values_B
    assert values_B.any()
    return values_B


def samples(groups):
    return [
        SimpleNamespace(reward={"correct": c, "brief": b}, group_index=g, response_length=3 + n)
        for n, (c, b, g) in enumerate(zip(CORRECT, BRIEF, groups, strict=True))
    ]


@pytest.mark.parametrize("nested", [False, True])
def test_slime(nested):
    groups = [5, 5, 9, 9, 5, 9]
    given = samples(groups)
    process = slime.post_process("gdpo", weights={"brief": 0.5}, conditions=CONDITIONS, eps=0)
    raw, advantages = process(SimpleNamespace(normalize_advantages=False), [given[:2], given[2:]] if nested else given)
    assert raw == pytest.approx([1.1, 0.45, 0.0, 1.05, 1.35, 0.15])
    assert advantages == pytest.approx(expected(groups).tolist(), abs=1e-12)


def test_slime_refuses_what_would_change_the_advantages_or_has_no_names():
    process = slime.post_process("gdpo")
    with pytest.raises(ConfigError, match="--normalize-advantages whitens"):
        process(SimpleNamespace(normalize_advantages=True), samples([0] * 6))
    with pytest.raises(ConfigError, match=r"sample 0 has the reward 1\.0; expected a dict"):
        process(SimpleNamespace(), [SimpleNamespace(reward=1.0, group_index=0, response_length=1)])
    with pytest.raises(ConfigError, match="unknown reward 'corect'"):
        slime.post_process("gdpo", conditions={"brief": {"on": "corect"}})(SimpleNamespace(), samples([0] * 6))


def module(monkeypatch, name, **contents):
    made = ModuleType(name)
    vars(made).update(contents)
    for parent in range(1, name.count(".") + 1):
        path = ".".join(name.split(".")[:parent])
        monkeypatch.setitem(sys.modules, path, sys.modules.get(path) or ModuleType(path))
    monkeypatch.setitem(sys.modules, name, made)
    return made


def test_ms_swift(monkeypatch):
    trainer = module(monkeypatch, ms_swift.HOMES[0], compute_advantages=None, compute_advantages_dynamic=None)
    ms_swift.install("gdpo", names=["correct", "brief"], conditions=CONDITIONS, eps=0)
    rewards = torch.tensor([CORRECT, [torch.nan if b is None else b for b in BRIEF]], dtype=torch.float64).T
    given = {"advantage_estimator": "grpo", "scale_rewards": "gdpo", "kl_in_reward": False, "beta": 0.04}
    advantages, sums = trainer.compute_advantages(rewards, torch.tensor([1.0, 0.5]), 3, kl_values=None, **given)
    torch.testing.assert_close(advantages, expected([0, 0, 0, 1, 1, 1]), rtol=0, atol=1e-12)
    assert sums.tolist() == pytest.approx([1.1, 0.45, 0.0, 1.05, 1.35, 0.15])
    with pytest.raises(ConfigError, match="kl_in_reward"):
        trainer.compute_advantages(rewards, torch.ones(2), 3, **given | {"kl_in_reward": True})
    with pytest.raises(ConfigError, match="varying numbers of samples"):
        trainer.compute_advantages_dynamic(rewards, torch.ones(2), [], [])
    with pytest.raises(ConfigError, match=r"3 rewards came with the names \['correct', 'brief'\]"):
        trainer.compute_advantages(torch.ones(6, 3), torch.ones(3), 3)


def test_ms_swift_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no trainer of ms-swift has `compute_advantages`"):
        ms_swift.install("gdpo")


def test_nemo_rl(monkeypatch):
    grpo = module(monkeypatch, nemo_rl.HOME, GDPOAdvantageEstimator=object)
    nemo_rl.install("gdpo", weights={"brief": 0.5}, conditions=CONDITIONS, eps=0)
    made = grpo.GDPOAdvantageEstimator(SimpleNamespace(reward_weights=None), SimpleNamespace())
    groups, valid = [0, 0, 1, 1, 0, 1], torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    prompts = torch.tensor([[7, 7], [7, 8]])[groups]
    brief = torch.tensor([torch.nan if b is None else b for b in BRIEF], dtype=torch.float64)
    batch = {"reward/correct": torch.tensor(CORRECT, dtype=torch.float64), "reward/brief": brief, "idx": groups}
    mask = torch.ones(6, 4)
    advantages = made.compute_advantage(prompts, torch.zeros(6, dtype=torch.float64), mask, batch, logprobs_policy=None)
    assert advantages.shape == mask.shape
    torch.testing.assert_close(advantages[:, 2], expected(groups), rtol=0, atol=1e-12)
    masked = made.compute_advantage(prompts, torch.zeros(6, dtype=torch.float64), mask, batch, valid_mask=valid)
    torch.testing.assert_close(masked[:5, 0], expected(groups, range(5)), rtol=0, atol=1e-12)
    assert not masked[5].any()
    with pytest.raises(ConfigError, match="no rewards `reward/<name>`"):
        made.compute_advantage(prompts, torch.zeros(6), mask, {"total_reward": torch.ones(6)})
    with pytest.raises(ConfigError, match="give the weights to `install`"):
        grpo.GDPOAdvantageEstimator(SimpleNamespace(reward_weights=[1.0, 2.0]), SimpleNamespace())


def test_nemo_rl_without_the_class_is_refused(monkeypatch):
    module(monkeypatch, nemo_rl.HOME)
    with pytest.raises(ConfigError, match="has no GDPOAdvantageEstimator"):
        nemo_rl.install("gdpo")


def test_a_seam_by_group_takes_local_estimators_only():
    assert Seam("prime-rl", GRPO(), by_group=True).ask(matrix({"a": [0.0, 1.0]}, ["x", "x"])).any()
    for chosen in (GDPO(), GRPO(scale="batch"), lambda rewards: None):
        with pytest.raises(ConfigError, match=r"prime-rl hands over one group at a time, and .* needs the whole batch"):
            Seam("prime-rl", chosen, by_group=True)


def test_an_estimator_by_name_takes_what_a_config_takes():
    made = estimator("gdpo", conditions=CONDITIONS, preset="trl", weighting="constant")
    assert made.inner == GDPO(preset="trl")
    assert estimator("gdpo", weighting={"name": "constant"}) == GDPO()
    with pytest.raises(ConfigError, match="weighting must be a name"):
        estimator("gdpo", weighting={"nam": "constant"})
    with pytest.raises(ConfigError, match="advantage estimator 'grpo' refused its options"):
        estimator("grpo", batch_norm=True)


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="no reward"):
        matrix({}, [])
    with pytest.raises(ConfigError, match="reward 'a' has 1 scores for 2 completions"):
        matrix({"a": [1.0]}, ["x", "y"])


def test_bounds_are_checked_before_training():
    class Bounded:
        requires_bounds = True

        def __call__(self, rewards):
            return rewards.weights_K

    chosen = GDPO(weighting=Bounded())
    check_parts(chosen, ["a", "b"], {"a": (0.0, 1.0)}, {"b": 0.0})
    with pytest.raises(ConfigError, match="Bounded needs bounds of each reward; 'b' has none"):
        check_parts(chosen, ["a", "b"], {"a": (0.0, 1.0)}, {})


def test_a_weighting_that_adapts_is_shown_each_step_and_the_user_is_told(caplog):
    @define
    class Counting:
        seen: int = 0

        def __call__(self, rewards):
            return rewards.weights_K

        def update(self, rewards, advantages):
            self.seen += 1

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    weighting = Counting()
    seam = Seam("slime", GDPO(weighting=weighting))
    assert "the checkpoints of slime do not hold its state" in caplog.text
    seam.ask(matrix({"a": [0.0, 1.0]}, [0, 0]))
    assert (weighting.seen, seam.step) == (1, 1)
