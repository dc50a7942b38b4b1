"""Sampling ahead of time: which weights draw which batch, that the two really overlap, and that nothing is lost."""

from __future__ import annotations

import copy
import shutil
import threading
from concurrent.futures import Future

import lightning.pytorch as L
import pytest
import torch

from morl import hookimpl, train
from morl.errors import ConfigError, RewardError, RolloutError
from morl.interrupts import Terminated
from morl.reward import RewardEntry
from morl.rollout.transformers import TransformersBackend
from morl.training.rollouts import Ahead, Planned

STEPS = 5
LOGPROBS = 1e-4
"""Of float32 log-probabilities by another way through the model; see "Limits for rounding" in CONTRIBUTING.md."""


class Recorder(L.Callback):
    """Keeps every batch, and the policy as it was at the start of every step."""

    def __init__(self):
        self.rollouts, self.policies = [], []

    def on_train_batch_start(self, trainer, module, batch, index):
        self.policies.append(copy.deepcopy(module.policy))

    @hookimpl
    def morl_rollouts_ready(self, step, rollouts):
        self.rollouts.append(rollouts)


def logprobs_under(policy, rollouts):
    prompts = [prompt.token_ids for prompt in rollouts.prompts]
    mask = rollouts.completion_mask_BT
    plan = policy.make_plan(prompts, rollouts.group_ids_B, rollouts.completion_ids_BT, mask)
    return policy(plan).logprobs_T.detach(), rollouts.rollout_logprobs_BT[mask]


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_the_batch_of_a_step_has_the_weights_of_lag_steps_before(settings, lag, rows_of):
    recorder = Recorder()
    changes = {"rollout.lag": lag, "training.steps": STEPS, "optimizer.warmup_steps": 0}
    result = train(settings(changes), callbacks=[recorder], plugins=[recorder])
    assert len(recorder.rollouts) == STEPS
    versions = [max(step - lag, 0) for step in range(STEPS)]
    assert [set(rollouts.weights_versions_B.tolist()) for rollouts in recorder.rollouts] == [{v} for v in versions]
    assert [float(row["rollout/lag"]) for row in rows_of(result)] == [s - v for s, v in enumerate(versions)]
    assert max(float(row["rollout/logprob_difference_max"]) for row in rows_of(result)) < LOGPROBS
    for rollouts, version in zip(recorder.rollouts, versions, strict=True):
        expected, captured = logprobs_under(recorder.policies[version], rollouts)
        torch.testing.assert_close(captured, expected, atol=LOGPROBS, rtol=0)
    older, captured = logprobs_under(recorder.policies[versions[-1] - 1], recorder.rollouts[-1])
    assert (older - captured).abs().max() > 10 * LOGPROBS, "weights of a step before give other log-probabilities"


def test_without_learning_a_lag_changes_no_sample(settings, tmp_path):
    texts = []
    for lag in (0, 2):
        recorder = Recorder()
        changes = {"output": str(tmp_path / str(lag)), "rollout.lag": lag, "optimizer.lr": 0.0}
        train(settings(changes), plugins=[recorder])
        texts.append([rollouts.texts for rollouts in recorder.rollouts])
    assert texts[0] == texts[1]


class Overlapping(TransformersBackend):
    """Finishes the batch of a step only when the update of the step before is under way."""

    def __init__(self):
        super().__init__()
        self.calls, self.updating, self.late = 0, threading.Semaphore(0), 0

    def generate(self, *args):
        self.calls += 1
        if self.calls > 2 and not self.updating.acquire(timeout=600):
            self.late += 1
        return super().generate(*args)

    @hookimpl
    def morl_advantages_ready(self, step):
        self.updating.release()


def test_the_next_batch_is_sampled_during_the_update(settings):
    backend = Overlapping()
    # The first two batches have the initial weights and no update to go with; the third waits for the update of step 0.
    train(settings({"rollout.lag": 1, "training.steps": 4}), rollout=backend, plugins=[backend])
    assert backend.calls == 4
    assert backend.late == 0, "a sequential loop would have waited in vain"


@pytest.mark.parametrize(
    "changes", [{"rollout.lag": 1}, {"rollout.lag": 2, "policy.lora": {"rank": 2}}], ids=["one", "two-lora"]
)
def test_a_run_resumed_after_any_step_ends_bit_identical(settings, weights_of, tmp_path, changes, same_bits):
    whole = train(settings(changes))
    again = train(settings({**changes, "output": str(tmp_path / "again")}))
    assert same_bits(weights_of(whole.model), weights_of(again.model))
    for step in (1, 3):
        resumed = tmp_path / f"resumed-{step}"
        shutil.copytree(whole.folder, resumed)
        shutil.rmtree(resumed / "model")
        for checkpoint in (resumed / "checkpoints").glob("*.ckpt"):
            if int(checkpoint.stem.removeprefix("step-")) > step:
                checkpoint.unlink()
        result = train(settings({**changes, "output": str(resumed)}), resume=True)
        assert same_bits(weights_of(result.model), weights_of(whole.model))


class Judge:
    def __init__(self, fails_at=None):
        self.calls, self.fails_at = 0, fails_at

    def score(self, completions):
        self.calls += 1
        if self.calls == self.fails_at:
            raise RewardError("judge is gone")
        return [float(completion.length) for completion in completions]


def test_a_batch_that_was_taken_when_its_step_failed_is_not_lost(settings, weights_of, tmp_path, same_bits):
    changes = {"training.checkpoint_every": 0, "rollout.lag": 1}
    expected = weights_of(train(settings(changes), rewards={"judge": Judge()}).model)
    stopped = settings({**changes, "output": str(tmp_path / "stopped")})
    with pytest.raises(RewardError, match="judge is gone"):
        train(stopped, rewards={"judge": RewardEntry(Judge(fails_at=3), on_failure="raise")})
    resumed = train(stopped, rewards={"judge": Judge()}, resume=True)
    assert same_bits(weights_of(resumed.model), expected)


def test_evaluation_between_batches_sees_the_present_weights(settings, prompt_file, tmp_path):
    """The last evaluation is that of the model which is written, whatever was sampled ahead."""
    evaluation = {"prompts": {"path": str(prompt_file), "limit": 8}, "every": 1}
    changes = {"rollout.lag": 1, "evaluation": evaluation}
    result = train(settings(changes))
    fresh = {"policy.path": str(result.model), "evaluation": evaluation, "output": str(tmp_path / "fresh")}
    first = train(settings({**fresh, "training.steps": 1, "optimizer.warmup_steps": 0})).evaluations[0]
    assert result.evaluations[4] == pytest.approx(first)


class Fails(TransformersBackend):
    def generate(self, *args):
        if self._version == 1:
            raise RolloutError("the engine is gone")
        return super().generate(*args)


def test_a_failure_in_the_background_ends_the_run_with_its_error(settings):
    before = threading.active_count()
    with pytest.raises(RolloutError, match="the engine is gone"):
        train(settings({"rollout.lag": 1}), rollout=Fails())
    assert threading.active_count() <= before + 1  # the reward room keeps a thread for a while
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("morl-rollouts")]


class Stale(TransformersBackend):
    def sync_weights(self, version):
        super().sync_weights(0)


@pytest.mark.parametrize("lag", [0, 1])
def test_completions_older_than_the_lag_are_refused(settings, lag):
    with pytest.raises(RolloutError, match=r"weights version 0, where version 1 or newer was due"):
        train(settings({"rollout.lag": lag}), rollout=Stale())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rollout.lag": 1, "training.dynamic_sampling_rounds": 3}, r"rollout.lag=1 .*dynamic_sampling_rounds to 1"),
        (
            {"importance.high": 3.0},
            r"importance.high=3.0 has no effect with importance.correction=auto and rollout.lag=0",
        ),
        ({"rollout.lag": 1, "importance.low": 0.5}, r"importance.low=0.5 has no effect.*set correction to masked"),
        (
            {"importance": {"correction": "masked", "low": 2.0, "high": 2.0}},
            r"importance.low=2.0 must be below importance.high=2.0",
        ),
    ],
)
def test_settings_without_effect_or_sense_are_refused(settings, changes, message):
    with pytest.raises(ConfigError, match=message):
        train(settings(changes))


@pytest.mark.parametrize("correction", ["truncated", "masked"])
def test_weights_of_one_correct_nothing(settings, difference, tmp_path, correction, rows_of):
    """On policy the ratio is 1 up to rounding, so a correction that is asked for leaves the run as it was."""
    damped = {"optimizer.eps": 1e-3, "training.inner_epochs": 1}
    plain = train(settings(damped))
    corrected = train(settings({**damped, "output": str(tmp_path / "corrected"), "importance.correction": correction}))
    assert difference(plain.model, corrected.model) < 1e-4
    assert all(abs(float(row["importance/mean"]) - 1) < 1e-4 for row in rows_of(corrected))


def test_the_correction_is_logged_and_changes_a_lagging_run(settings, difference, tmp_path, rows_of):
    lagging = {"rollout.lag": 2, "optimizer.warmup_steps": 0, "optimizer.lr": 1e-2, "training.steps": STEPS}
    corrected = train(settings({**lagging, "importance": {"correction": "masked", "low": 0.9, "high": 1.1}}))
    plain = train(settings({**lagging, "output": str(tmp_path / "plain"), "importance.correction": "none"}))
    shares = [float(row["importance/bounded"]) for row in rows_of(corrected)]
    assert shares[0] == 0.0
    assert shares[-1] > 0.0
    assert "importance/mean" not in rows_of(plain)[0]
    assert difference(plain.model, corrected.model) > 1e-3


@pytest.mark.parametrize("mini_batches", [1, 2])
def test_the_factor_is_the_ratio_to_the_policy_at_the_start_of_the_update(settings, mini_batches, rows_of):
    recorder = Recorder()
    changes = {
        "rollout.lag": 1,
        "importance.high": 1.01,
        "optimizer.warmup_steps": 0,
        "training.inner_epochs": 2,  # the second starts from another policy, and must not move the factor
        "training.mini_batches": mini_batches,
    }
    result = train(settings(changes), callbacks=[recorder], plugins=[recorder])
    for row, policy, rollouts in zip(rows_of(result), recorder.policies, recorder.rollouts, strict=True):
        old, captured = logprobs_under(policy, rollouts)
        expected = (old - captured).exp().clamp(max=1.01).mean()
        assert float(row["importance/mean"]) == pytest.approx(float(expected), abs=1e-5)


class Passes(L.Callback):
    """Counts the forward passes of the policy."""

    def __init__(self):
        self.count = 0

    def on_fit_start(self, trainer, module):
        module.policy.register_forward_hook(self.called)

    def called(self, *_):
        self.count += 1


@pytest.mark.parametrize(("mini_batches", "more"), [(1, False), (2, True)])
def test_where_the_first_step_takes_the_whole_batch_a_correction_costs_no_pass(settings, tmp_path, mini_batches, more):
    counts = []
    for correction in ("none", "truncated"):
        passes = Passes()
        changes = {"rollout.lag": 1, "importance.correction": correction, "training.mini_batches": mini_batches}
        train(settings({**changes, "output": str(tmp_path / correction)}), callbacks=[passes])
        counts.append(passes.count)
    assert (counts[1] > counts[0]) == more


class Forgetful(TransformersBackend):
    """Samples with the weights that it started with, and says they were the present ones."""

    def start(self, policy, *args):
        super().start(copy.deepcopy(policy), *args)


@pytest.mark.parametrize("lag", [0, 1])
def test_a_missed_sync_shows_in_the_log(settings, lag, rows_of):
    result = train(
        settings({"rollout.lag": lag, "optimizer.warmup_steps": 0, "rollout.max_logprob_difference": 0}),
        rollout=Forgetful(),
    )
    worst = [float(row["rollout/logprob_difference_max"]) for row in rows_of(result)]
    assert max(worst[: 1 + lag]) < LOGPROBS, "these steps are due the initial weights"
    assert min(worst[1 + lag :]) > 10 * LOGPROBS


class StaleAsTold(Stale):
    max_staleness = 1


def test_a_backend_may_be_allowed_older_weights(settings, rows_of):
    backend = StaleAsTold()
    result = train(settings({"training.steps": 2, "optimizer.warmup_steps": 0}), rollout=backend)
    assert [float(row["rollout/lag"]) for row in rows_of(result)] == [0, 1]
    assert rows_of(result)[1]["importance/mean"], "a correction is in force by default"
    with pytest.raises(RolloutError, match=r"weights version 0, where version 1 or newer was due"):
        train(settings({"training.steps": 3, "output": str(result.folder) + "-longer"}), rollout=backend)


class AnotherEngine(TransformersBackend):
    own_numerics = True


def test_the_numerics_of_another_engine_are_corrected_by_default(settings, rows_of):
    found = {}
    for correction in ("auto", "truncated", "none"):
        changes = {"training.steps": 1, "importance.correction": correction}
        changes["output"] = settings()["output"] + correction
        found[correction] = rows_of(train(settings(changes), rollout=AnotherEngine()))[0]
    assert found["auto"]["importance/mean"] == found["truncated"]["importance/mean"]
    assert abs(float(found["auto"]["importance/mean"]) - 1) < 1e-4
    assert found["auto"]["loss"] == found["truncated"]["loss"]
    assert "importance/mean" not in found["none"]


def test_a_batch_that_sigterm_cut_off_is_told(caplog):
    ahead, work = Ahead(None, 1, STEPS, 2), Future()
    work.set_exception(Terminated())
    ahead._planned.append(Planned(3, 6, work))
    assert ahead.drawn_ahead(3) == []
    assert "step 3: stopped while 1 batches were being drawn ahead; a resumed run draws them anew" in caplog.text
