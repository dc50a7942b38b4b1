"""The reference policy: where it is, in which dtype, and what of it a checkpoint holds."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from morl import Completion, Prompt, hookimpl, train
from morl.artifacts.table import read_rows
from morl.config.load import parse
from morl.config.schema import EntropyConfig, ReferenceConfig
from morl.errors import ConfigError
from morl.plugins import Registry
from morl.policy.load import load_policy
from morl.reward.reference import ReferenceKLReward
from morl.runtime.checks import check_settings
from morl.runtime.parts import build_parts
from morl.training.entropy import EntropyBonus
from morl.training.reference import Reference


def weights(policy):
    return torch.cat([parameter.detach().float().flatten() for parameter in policy.parameters()])


@pytest.mark.parametrize(("mixup", "expected"), [(1.0, 1.0), (0.25, 0.25)])
def test_it_moves_when_it_is_due(tiny_model, mixup, expected):
    policy = load_policy(str(tiny_model))
    before = weights(policy)
    reference = Reference(policy, lora=False, options=ReferenceConfig(sync_every=2, mixup=mixup))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 1.0
    reference.finish_step(1, policy)
    assert torch.equal(reference.apply(weights), before)
    assert reference.state() is None, "it can be made again"
    reference.finish_step(2, policy)
    torch.testing.assert_close(reference.apply(weights), before + expected)
    other = Reference(policy, lora=False, options=ReferenceConfig(sync_every=2, mixup=mixup))
    other.load(reference.state())
    assert torch.equal(other.apply(weights), reference.apply(weights))


def test_in_bfloat16_its_parameters_take_half_and_its_tables_none_less(tiny_model):
    policy = load_policy(str(tiny_model))
    reference = Reference(policy, lora=False, options=ReferenceConfig(dtype="bfloat16"))
    assert {p.dtype for p in reference.apply(lambda copy: list(copy.parameters()))} == {torch.bfloat16}
    assert {b.dtype for b in reference.apply(lambda copy: list(copy.buffers()))} <= {torch.float32, torch.int64}
    assert {p.dtype for p in policy.parameters()} == {torch.float32}


def test_a_run_with_a_reference_in_bfloat16_sees_nearly_the_same_divergence(settings, rows_of, tmp_path):
    found = []
    for dtype in ("float32", "bfloat16"):
        changes = {"output": str(tmp_path / dtype), "loss.kl_coef": 1e-6, "reference.dtype": dtype}
        result = train(settings(changes | {"optimizer.lr": 1e-2}))
        found.append(float(rows_of(result)[-1]["policy/kl_reference"]))
    assert found[0] > 1e-3
    assert found[0] != found[1]
    assert found[1] == pytest.approx(found[0], rel=0.2)


def test_the_coefficient_goes_up_below_the_target_and_down_above_and_stays_within_its_bounds():
    bonus = EntropyBonus.of(EntropyConfig(coef=0.1, target=1.0, delta=0.05, min_coef=0.05, max_coef=0.15))
    applied = []
    for entropy in (2.0, 0.5, 1.0, 0.9, 3.0):
        applied += bonus.finish_step({"policy/entropy": entropy}).values()
    assert applied == pytest.approx([0.0, 0.0, 0.1, 0.15, 0.15])
    assert bonus.applied == 0.0
    bonus.finish_step({})  # every completion was dropped
    assert bonus.coef == pytest.approx(0.1)


class Watch:
    """Keeps rollouts and rewards of every step."""

    def __init__(self):
        self.rollouts, self.rewards = [], []

    @hookimpl
    def morl_rollouts_ready(self, rollouts):
        self.rollouts.append(rollouts)

    @hookimpl
    def morl_advantages_ready(self, rewards):
        self.rewards.append(rewards)


def divergences(model, rollouts, estimator):
    """Of each completion, by transformers' own forward."""
    found = []
    for b, group in enumerate(rollouts.group_ids_B.tolist()):
        prompt, mask = list(rollouts.prompts[group].token_ids), rollouts.sampled_mask_BT[b]
        ids = rollouts.completion_ids_BT[b, mask]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + ids.tolist()])).logits[0, len(prompt) - 1 : -1]
        far = logits.double().log_softmax(-1).gather(1, ids[:, None])[:, 0]
        d = rollouts.rollout_logprobs_BT[b, mask].double() - far
        found.append(d.sum() if estimator == "k1" else ((-d).exp() - 1 + d).sum())
    return torch.stack(found)


@pytest.mark.parametrize(
    ("estimator", "lora", "budget"), [("k1", None, None), ("k3", {"rank": 2}, None), ("k3", None, 40)]
)
def test_the_divergence_is_a_reward_of_its_own(settings, tiny_model, rows_of, estimator, lora, budget):
    watch = Watch()
    changes = {
        "rewards.kl": {"name": "reference-kl", "estimator": estimator, "weight": 0.1},
        "policy.lora": lora,
        "training.micro_batch_tokens": budget,
        "training.steps": 2,
        "optimizer.lr": 1e-2,
        "optimizer.warmup_steps": 0,
        "estimator": {"name": "grpo-no-std"},
    }
    train(settings(changes), plugins=[watch])
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    scores = [rewards.values_BK[:, rewards.names.index("kl")] for rewards in watch.rewards]
    assert scores[0].abs().max() == 0.0, "the policy is the reference, and rounding is no divergence"
    assert scores[1].abs().max() > 1e-2
    torch.testing.assert_close(scores[1], -divergences(model, watch.rollouts[1], estimator), atol=1e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_ranks_see_the_divergences_of_one(settings, rows_of, run_cli, tmp_path, strategy):
    changes = {"rewards.kl": {"name": "reference-kl", "weight": 0.1}, "estimator": {"name": "grpo-no-std"}}
    changes |= {"training.steps": 2, "optimizer.eps": 1e-2, "loss.kl_coef": 0.1}
    one = rows_of(train(settings(changes)))
    ranks = {"output": str(tmp_path / "two"), "trainer.devices": 2, "trainer.strategy": strategy}
    done = run_cli(settings({**changes, **ranks}), tmp_path)
    assert done.returncode == 0, done.output
    two = [row for row in read_rows(tmp_path / "two" / "logs" / "metrics.csv")[0] if "loss" in row]
    for name in ("reward/kl/mean", "policy/kl_reference", "loss"):
        assert [float(row[name]) for row in two] == pytest.approx([float(row[name]) for row in one], rel=1e-2, abs=1e-5)
    assert float(two[1]["reward/kl/mean"]) != 0.0


def test_it_follows_a_reference_that_moves_and_is_missing_on_held_out_prompts(settings, prompt_file, tmp_path):
    watch = Watch()
    changes = {
        "rewards.kl": {"name": "reference-kl"},
        "reference.sync_every": 1,
        "evaluation": {"prompts": {"path": str(prompt_file), "limit": 2}},
        "optimizer.lr": 1e-2,
        "optimizer.warmup_steps": 0,
        "training.steps": 2,
        "loss.kl_coef": 0.1,
    }
    result = train(settings(changes), plugins=[watch])
    kl = watch.rewards[1].names.index("kl")
    assert watch.rewards[1].values_BK[:, kl].abs().max() < 1e-3, "the reference is the policy of the step before"
    assert json.loads((result.folder / "evaluation.json").read_text())[0]["metrics"]["kl/scored"] == 0.0


def test_a_reward_of_the_divergence_without_log_probabilities_is_missing():
    prompt, reward = Prompt("a"), ReferenceKLReward(per="token")
    known = Completion(prompt, "b", (1, 2), logprobs=(-1.0, -2.0), reference_logprobs=(-2.0, -4.0))
    assert reward.score([Completion(prompt, "b", (1,)), known]) == [None, -1.5]


REFUSED = [
    ({"reference.sync_every": 2}, "the section reference has no effect"),
    ({"loss.kl_coef": 0.1, "reference.mixup": 0.5}, "reference.mixup=0.5 has no effect without reference.sync_every"),
    ({"loss.kl_coef": 0.1, "reference.sync_every": 1, "reference.mixup": 2.0}, "reference.mixup is a share"),
    (
        {"loss.kl_coef": 0.1, "policy.lora": {"rank": 2}, "reference.dtype": "bfloat16"},
        "with policy.lora the reference is the policy without its adapters",
    ),
    (
        {"loss.kl_coef": 0.1, "reference.sync_every": 1, "trainer.strategy": "fsdp2"},
        "reference.sync_every: a sharded reference stays as it began",
    ),
    (
        {"loss.kl_coef": 0.1, "reference.sync_every": 1, "reference.mixup": 0.5, "reference.dtype": "bfloat16"},
        "reference.mixup=0.5 with weights in bfloat16 rounds most of each move away",
    ),
    ({"entropy.delta": 0.1}, "entropy.delta=0.1 has no effect without entropy.target"),
    ({"entropy.coef": float("inf")}, "entropy.coef must be finite"),
    ({"entropy.coef": 2.0, "entropy.target": 1.0}, "entropy.coef=2.0 must lie between entropy.min_coef=0.0 and"),
    (
        {"loss.name": "vespo", "importance.correction": "truncated"},
        "importance.correction=truncated has no effect: the loss vespo weighs completions",
    ),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[",".join(changes) for changes, _ in REFUSED])
def test_what_has_no_effect_or_cannot_work_is_refused(settings, changes, message):
    registry = Registry()
    config = parse(settings(changes), registry)
    with pytest.raises(ConfigError, match=message):
        check_settings(config, build_parts(config, registry))


def test_the_coefficient_of_a_target_cannot_change_in_a_resumed_run(settings):
    train(settings({"entropy.target": 3.0, "training.steps": 1, "training.checkpoint_every": 1}))
    with pytest.raises(ConfigError, match=r"entropy.coef cannot change from 0.0 to 0.5 in a resumed run"):
        train(settings({"entropy.target": 3.0, "entropy.coef": 0.5, "training.steps": 2}), resume=True)
