"""Whole runs on a tiny model: what they leave behind, and what changes nothing."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from attrs import evolve
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from transformers import AutoModelForCausalLM, AutoTokenizer

import morl
from morl import Advantages, ConfigError, PluginError, Prompt, RolloutError, train
from morl.errors import TrainingError
from morl.loss import ClippedLoss
from morl.reward import FunctionReward, RewardEntry
from morl.rollout.transformers import TransformersBackend
from morl.runtime.exchange import is_first_rank
from morl.types import TokenLosses

# Adam divides a gradient by its own size, which turns the rounding of a zero gradient into a full step; a large eps
# keeps rounding as small in the weights as it is in the gradients.
DAMPED = {"optimizer.eps": 1e-3}

ROUNDING = 1e-4
"""Between the weights of runs whose sums have another order only, relative to the distance moved; see `difference`.

These weights are 23 times as long as the distance they move, and float32 rounds each by at most 2^-24 of its size: 8
updates in two runs come to 2 * 8 * 23 * 2^-24 = 2.2e-5 at worst, and rounded gradients to no more.  About 1e-6 is seen.
"""
MISTAKE = 100 * ROUNDING
"""A mistake moves them further: each test has one that must."""


def test_a_run_leaves_its_whole_story(settings, tiny_model, weights_of, prompt_file, rows_of, same_bits):
    evaluation = {"prompts": {"name": "jsonl", "path": str(prompt_file), "limit": 10}, "every": 2}
    result = train(settings({"evaluation": evaluation, "training.samples_every": 2}))

    config = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert config["estimator"]["batch_norm"] is True, "defaults of plugin options are written down"
    environment = json.loads((result.folder / "environment.json").read_text())
    assert environment["plugins"]["morl-llm"] == morl.__version__

    rows = rows_of(result)
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    for name in ("short", "vowel"):
        for figure in ("mean", "std", "dead_groups", "advantage_share", "failed", "missing"):
            assert rows[0][f"reward/{name}/{figure}"] != ""
    shares = sum(float(rows[0][f"reward/{name}/advantage_share"]) for name in ("short", "vowel"))
    assert shares == pytest.approx(1.0)
    for name in (
        "advantage/distinct",
        "reward/distinct_combinations",
        "reward_correlation/short~vowel",
        "completions/truncated",
        "policy/entropy",
        "policy/clip_fraction",
        "optimizer/grad_norm",
        "time/rollout",
        "time/reward",
        "time/update",
        "time/tokens_per_second",
    ):
        assert rows[0][name] != "", name
    assert list((result.folder / "tensorboard").glob("events*"))

    samples = [json.loads(line) for line in (result.folder / "samples" / "step-000001.jsonl").open()]
    assert len(samples) == 24
    for sample in samples:
        assert sum(sample["contributions"].values()) == pytest.approx(sample["advantage"], abs=1e-9)
        assert set(sample["rewards"]) == {"short", "vowel"}

    assert sorted(result.evaluations) == [0, 2, 4]
    held_out = [json.loads(line) for line in (result.folder / "samples" / "evaluation-000004.jsonl").open()]
    assert len(held_out) == 10
    for name in result.rewards:
        assert sum(row["rewards"][name] for row in held_out) / 10 == pytest.approx(result.evaluations[4][name])
    assert json.loads((result.folder / "evaluation.json").read_text())[0]["metrics"] == result.evaluations[0]

    assert AutoTokenizer.from_pretrained(result.model)("the answer")["input_ids"]
    assert AutoModelForCausalLM.from_pretrained(result.model).generate(torch.tensor([[5, 6]]), max_new_tokens=2).shape
    assert not same_bits(weights_of(tiny_model), weights_of(result.model))


def test_the_policy_learns_what_is_rewarded(settings, rows_of):
    changes = {"training.steps": 30, "training.prompts_per_step": 8, "training.inner_epochs": 1, "optimizer.lr": 1e-2}
    rewards = {"vowel": {"name": "regex", "pattern": "^[^0-9]*$"}}
    rows = rows_of(train(settings(changes | {"rewards": rewards, "training.checkpoint_every": 0})))
    first, last = (sum(float(row["reward/vowel/mean"]) for row in part) / 5 for part in (rows[:5], rows[-5:]))
    assert last > first + 0.15


def test_the_same_seed_gives_the_same_run_and_another_seed_another(settings, weights_of, tmp_path, same_bits):
    first = train(settings())
    again = train(settings({"output": str(tmp_path / "again")}))
    other = train(settings({"output": str(tmp_path / "other"), "seed": 2}))
    assert same_bits(weights_of(first.model), weights_of(again.model))
    assert not same_bits(weights_of(first.model), weights_of(other.model))


def test_global_randomness_is_left_alone(settings):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(settings({"training.steps": 1}))
    assert torch.equal(torch.rand(3), expected)


def test_micro_batches_change_nothing_but_memory(settings, difference, tmp_path):
    changes = {**DAMPED, "training.steps": 2}
    whole = train(settings(changes))
    cut = train(settings({**changes, "output": str(tmp_path / "cut"), "training.micro_batch_tokens": 40}))
    assert difference(whole.model, cut.model) < ROUNDING


def test_micro_batches_that_matter_are_seen(settings, difference, tmp_path):
    """The control of the test above: a loss that looks at all tokens it is given depends on the cut."""

    class Centred(ClippedLoss):
        def __call__(self, batch):
            return super().__call__(evolve(batch, advantages_T=batch.advantages_T - batch.advantages_T.mean()))

    changes = {**DAMPED, "training.steps": 2}
    whole = train(settings(changes), loss=Centred())
    cut = {**changes, "output": str(tmp_path / "cut"), "training.micro_batch_tokens": 40}
    assert difference(whole.model, train(settings(cut), loss=Centred()).model) > MISTAKE


SHARED = pytest.mark.parametrize(
    "changes",
    [
        # One prompt for two ranks, and rounds that miss fewer groups than there are ranks.
        {"training.dynamic_sampling_rounds": 3, "training.prompts_per_step": 1, "training.mini_batches": 1},
        {"training.micro_batch_tokens": 40, "training.recompute_logprobs": True},  # ranks cut into different numbers
        {"rollout.lag": 1},
    ],
    ids=["dynamic", "micro-batches", "lag"],
)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@SHARED
def test_two_processes_give_the_weights_of_one(settings, difference, tmp_path, strategy, changes, run_cli):
    changes = {**changes, **DAMPED, "training.steps": 2, "training.samples_every": 0}
    one = train(settings(changes))
    two = settings(changes | {"output": str(tmp_path / "two"), "trainer.devices": 2, "trainer.strategy": strategy})
    done = run_cli(two, tmp_path)
    assert done.returncode == 0, done.output
    assert difference(one.model, tmp_path / "two" / "model") < ROUNDING


@SHARED
def test_half_a_gradient_is_seen(settings, difference, tmp_path, changes):
    """The control of the test above: two processes whose gradients are averaged and not added have half of one's."""

    class Half(ClippedLoss):
        def __call__(self, batch):
            losses = super().__call__(batch)
            return evolve(losses, values_T=losses.values_T / 2)

    changes = {**changes, **DAMPED, "training.steps": 2, "training.samples_every": 0}
    one = train(settings(changes))
    half = train(settings({**changes, "output": str(tmp_path / "half")}), loss=Half())
    assert difference(one.model, half.model) > MISTAKE


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer.precision": "bf16-mixed"},
        {"policy.dtype": "bfloat16"},
        {"policy.attention": "padded"},
        {"policy.gradient_checkpointing": True},
        {"training.recompute_logprobs": True},
        {"sampling.temperature": 0.7, "sampling.top_p": 0.9, "sampling.stop": [" the"]},
        {"loss.aggregation": "sequence-mean", "optimizer.schedule": "cosine"},
        {"loss.aggregation": "dr-grpo", "estimator.name": "grpo-no-std"},
        {"estimator": {"name": "conditioned-gdpo", "conditions": {"short": {"on": "vowel"}}}},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_settings_that_users_combine_train_without_nan(settings, tiny_model, weights_of, changes, rows_of, same_bits):
    result = train(settings({**changes, "training.steps": 2}))
    rows = rows_of(result)
    assert all(float(row["loss"]) == float(row["loss"]) for row in rows)
    assert not same_bits(weights_of(tiny_model), weights_of(result.model))


def test_captured_and_recomputed_logprobs_agree(settings, difference, tmp_path, rows_of):
    captured = train(settings(DAMPED))
    recompute = {"output": str(tmp_path / "recomputed"), "training.recompute_logprobs": True}
    recomputed = train(settings({**DAMPED, **recompute}))
    assert max(float(row["rollout/logprob_difference"]) for row in rows_of(captured)) < ROUNDING
    assert difference(captured.model, recomputed.model) < ROUNDING


def test_lightning_callbacks_and_loggers_are_the_users(settings, tmp_path, rows_of):
    best = ModelCheckpoint(tmp_path / "best", monitor="reward/short/mean", mode="max", save_top_k=1)
    result = train(settings(), callbacks=[best, LearningRateMonitor()])
    assert Path(best.best_model_path).is_file()
    assert any("lr-AdamW" in row for row in rows_of(result))


def test_parts_may_be_passed_as_objects(settings, tiny_model):
    config = settings({"training.steps": 1, "training.mini_batches": 1})
    for section in ("policy", "prompts", "rewards", "estimator"):
        del config[section]
    seen = []

    def no_spaces(prompts, completions, answer, **kwargs):
        seen.append((prompts[0], answer[0]))
        return [float(" " not in text) for text in completions]

    result = train(
        config,
        policy=AutoModelForCausalLM.from_pretrained(tiny_model),
        tokenizer=AutoTokenizer.from_pretrained(tiny_model),
        prompts=[Prompt("say one", {"answer": "1"}), Prompt("say two", {"answer": "2"})],
        rewards={"no_spaces": no_spaces},
        estimator=morl.GRPO(),
    )
    assert result.rewards == ("no_spaces",)
    assert {pair for call in seen for pair in [call]} <= {("say one", "1"), ("say two", "2")}
    assert AutoModelForCausalLM.from_pretrained(result.model)


def test_failures_are_counted_apart_from_zeros(settings, rows_of):
    def broken(prompts, completions, **kwargs):
        raise RuntimeError("judge is down")

    endless = RewardEntry(FunctionReward(broken), max_failed_steps=None)
    result = train(settings({"training.steps": 1}), rewards={"judge": endless})
    row = rows_of(result)[0]
    assert float(row["reward/judge/failed"]) == 1.0
    assert float(row["reward/judge/missing"]) == 1.0
    assert float(row["reward/short/failed"]) == 0.0


class Backend(TransformersBackend):
    """Notes when it is closed and under which precision it samples; fails when told to."""

    def __init__(self, fails=False):
        super().__init__()
        self.fails, self.closed, self.autocast = fails, False, []

    def generate(self, *arguments):
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        if self.fails:
            raise RolloutError("the engine died")
        return super().generate(*arguments)

    def close(self):
        self.closed = True


@pytest.mark.parametrize("fails", [True, False])
def test_the_backend_is_closed_whatever_happens(settings, fails):
    backend = Backend(fails)
    with pytest.raises(RolloutError, match="the engine died") if fails else contextlib.nullcontext():
        train(settings({"training.steps": 1}), rollout=backend)
    assert backend.closed


def test_evaluation_samples_under_the_precision_of_training(settings):
    backend = Backend()
    prompts = [Prompt("say one"), Prompt("say two")]
    result = train(
        settings({"training.steps": 1, "trainer.precision": "bf16-mixed"}), rollout=backend, evaluation_prompts=prompts
    )
    assert backend.autocast == [True, True, True]
    assert sorted(result.evaluations) == [0, 1], "held-out prompts as objects need no section in the config"


def test_an_estimator_that_returns_no_numbers_is_named(settings):
    class Broken:
        def __call__(self, rewards):
            return Advantages(rewards.values_BK[:, 0] / 0, rewards.values_BK)

    with pytest.raises(PluginError, match=r"estimator \(Broken, passed in\) returned values_B"):
        train(settings(), estimator=Broken())


def test_a_gradient_that_is_not_finite_ends_the_run_before_it_spoils_the_weights(settings):
    class Explodes(ClippedLoss):
        def __call__(self, batch):
            return TokenLosses(batch.policy_logprobs_T * float("inf"))

    with pytest.raises(TrainingError, match="the gradient of step 1 is not finite, so the run ends"):
        train(settings(), loss=Explodes())


def test_early_stopping_without_evaluations_is_refused(settings):
    with pytest.raises(ConfigError, match="set its monitor to evaluation/<reward> \\(it is loss\\)"):
        train(settings(), callbacks=[EarlyStopping("loss", check_on_train_epoch_end=False)])


def test_torch_is_left_as_it_was(settings):
    train(settings({"training.steps": 1, "trainer.deterministic": True, "trainer.threads": 2}))
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("environment", "first"),
    [({}, True), ({"NODE_RANK": "0"}, True), ({"NODE_RANK": "1"}, False), ({"GROUP_RANK": "1"}, False)],
)
def test_the_first_process_of_another_node_is_not_the_first(monkeypatch, environment, first):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_rank() is first
