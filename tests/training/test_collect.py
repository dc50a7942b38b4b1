"""What enters a step: dynamic sampling by component, dropped completions, shares of the prompts."""

from __future__ import annotations

import contextlib
import csv

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morl import hookimpl, train
from morl.hookspecs import RewardProvider
from morl.runtime.exchange import Exchange
from morl.runtime.scores import BatchScores
from morl.training.passes import FrozenLogprobs, completion_logprobs
from morl.training.update import MiniBatch, TokenSums, Updater


def rows_of(result):
    with (result.folder / "logs" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Recorder:
    """Observes every step."""

    def __init__(self):
        self.rollouts, self.scores, self.advantages = [], [], []

    @hookimpl
    def morl_rollouts_ready(self, step, rollouts):
        self.rollouts.append((step, rollouts))

    @hookimpl
    def morl_rewards_ready(self, step, rollouts, scores):
        self.scores.append((step, scores))

    @hookimpl
    def morl_advantages_ready(self, step, rewards, advantages):
        self.advantages.append((step, rewards, advantages))


def test_observers_see_every_step_in_order(settings):
    recorder = Recorder()
    train(settings({"training.steps": 2}), plugins=[recorder])
    assert [step for step, *_ in recorder.rollouts] == [0, 1]
    assert [step for step, *_ in recorder.scores] == [0, 1]
    step, rewards, advantages = recorder.advantages[1]
    assert step == 1
    assert rewards.names == ("short", "vowel")
    assert len(rewards.values_BK) == len(advantages.values_B) == 24


def test_groups_whose_rewards_cancel_in_the_sum_are_kept(settings):
    """A filter on the summed reward would drop them (a peer's fault); their components still tell completions apart."""
    recorder = Recorder()
    rewards = {
        "vowel": {"name": "regex", "pattern": "[ae]"},
        "no_vowel": {"name": "regex", "pattern": "^[^ae]*$"},
        "short": {"name": "length", "limit": 10},
    }
    changes = {"rewards": rewards, "training.steps": 3, "training.dynamic_sampling_rounds": 2}
    result = train(settings(changes), plugins=[recorder])
    kept = [float(row["groups/kept"]) for row in rows_of(result)]
    assert min(kept) > 0, "a step that keeps none learns from all of its last round"
    cancelled = 0
    for _, matrix, advantages in recorder.advantages:
        spread = matrix.values_BK.view(-1, 4, 3).amax(1) > matrix.values_BK.view(-1, 4, 3).amin(1)
        assert spread.any(1).all(), "every group that was kept has signal in one of its components"
        cancelled += int((spread[:, 0] & (advantages.values_B.view(-1, 4) == 0).all(1)).sum())
    assert cancelled > 0, "some of them have none in the sum"


def test_dead_groups_are_replaced_from_the_stream_of_prompts(settings):
    recorder = Recorder()
    changes = {"training.steps": 2, "training.dynamic_sampling_rounds": 6, "training.mini_batches": 1}
    train(settings(changes), plugins=[recorder])
    for _, matrix, advantages in recorder.advantages:
        signal = (advantages.contributions_BK != 0).any(1).view(-1, 4).any(1)
        assert signal.all()
        assert len(matrix.group_ids_B.unique()) <= 6
    first, second = ({*matrix.group_ids_B.tolist()} for _, matrix, _ in recorder.advantages)
    assert max(first) < min(second), "no prompt is used twice before the epoch is over"


def test_a_batch_without_any_signal_changes_no_weight_but_for_adam(settings, tiny_model, weights_of):
    rewards = {"nothing": {"name": "regex", "pattern": "(?!)"}}
    result = train(settings({"rewards": rewards, "training.steps": 2, "training.dynamic_sampling_rounds": 2}))
    start, end = weights_of(tiny_model), weights_of(result.model)
    assert all(torch.equal(start[name], end[name]) for name in start)
    assert [float(row["groups/kept"]) for row in rows_of(result)] == [0.0, 0.0]


class FailsOnLong:
    """Scores 1, and fails on every second completion."""

    def score(self, completions):
        return [ValueError("no") if row % 2 else 1.0 for row, _ in enumerate(completions)]


@pytest.mark.parametrize(("policy", "dropped", "missing"), [("drop", 0.5, 0.5), ("abstain", 0, 0.5), ("zero", 0, 0)])
def test_failed_completions_are_treated_as_the_policy_says(settings, policy, dropped, missing):
    from morl import RewardEntry

    assert isinstance(FailsOnLong(), RewardProvider)
    entry = RewardEntry(FailsOnLong(), on_failure=policy)
    row = rows_of(train(settings({"training.steps": 1}), rewards={"odd": entry}))[0]
    assert float(row["reward/odd/failed"]) == 0.5
    assert float(row["reward/odd/missing"]) == missing
    assert float(row["completions/dropped"]) == dropped
    assert float(row["loss"]) == float(row["loss"])


def test_a_step_whose_completions_are_all_dropped_goes_by(settings, tiny_model, weights_of):
    from morl import RewardEntry

    class Fails:
        def score(self, completions):
            raise OSError("judge is down")

    judge = RewardEntry(Fails(), on_failure="drop", max_failed_steps=None)
    result = train(settings({"training.steps": 2}), rewards={"judge": judge})
    assert [float(row["completions/dropped"]) for row in rows_of(result)] == [1.0, 1.0]
    start, end = weights_of(tiny_model), weights_of(result.model)
    assert all(torch.equal(start[name], end[name]) for name in start)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=2, max_size=8))
def test_dropped_completions_and_other_mini_batches_have_no_weight(rows):
    """Of four groups of two, the first and third are in the mini-batch."""
    rows = (rows * 8)[:8]
    lengths = torch.tensor([length for length, _ in rows])
    dropped = torch.tensor([drop for _, drop in rows])
    empty = torch.zeros(8, 1)
    scores = BatchScores(
        torch.arange(4).repeat_interleave(2), empty.double(), empty.bool(), dropped, lengths, dropped & False
    )

    class Loss:
        needs_reference, aggregation = False, "token-mean"

    experience = type("E", (), {"scores": scores})
    weights = Updater(None, Loss(), 1.0, 10, 100).weights(experience, torch.tensor([0, 2]))
    inside = torch.tensor([True, True, False, False] * 2) & ~dropped
    assert (weights[~inside] == 0).all()
    if inside.any():
        assert float((weights * lengths).sum()) == pytest.approx(1.0)


def test_a_rank_without_completions_makes_idle_passes_that_count_for_nothing(settings, tiny_model):
    """As happens where dynamic sampling drops all groups of a rank: the others must not wait for it."""
    from morl.policy.load import load_policy

    recorder = Recorder()
    train(settings({"training.steps": 1}), plugins=[recorder])
    rollouts = recorder.rollouts[0][1]
    scores = BatchScores(*(torch.zeros(24, *shape) for shape in ((), (2,), (2,), (), (), ())))
    experience = type("E", (), {})
    experience.rollouts, experience.spare = rollouts.select([]), rollouts.select([0])
    experience.scores, experience.local_rows = scores, torch.zeros(0, dtype=torch.int64)

    policy = load_policy(str(tiny_model))
    updater = Updater(policy, None, 1.0, 12, 100)
    sums, synced = TokenSums(), []

    class BesideABusyRank(Exchange):
        def gather(self, value):
            return [value, 3]  # the other rank has three micro-batches

    two = BesideABusyRank(0, 2)

    def sync(exchange_gradients):
        synced.append(exchange_gradients)
        return contextlib.nullcontext()

    empty = FrozenLogprobs(torch.zeros(0, 0))
    updater.backward(experience, MiniBatch(torch.zeros(24)), empty, two, sync, lambda loss: loss.backward(), sums, True)
    assert synced == [False, False, True]
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in policy.parameters())
    assert sums.sums == {}
    found = completion_logprobs(policy, experience.rollouts, experience.spare, 1.0, 100, two, entropy=True)
    assert [each.shape for each in found] == [(0, 0), (0, 0)]
