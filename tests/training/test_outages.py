"""A judge that goes away in the middle of a run, and comes back: the run ends or waits, as configured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from judging import JudgeServer

from morl import RewardError, hookimpl, train

pytest.importorskip("morl_judge", reason="the plugin morl-judge is not installed")
from morl_judge.judge import Judge

STEPS = {"training.steps": 4, "optimizer": {"lr": 3e-3}}
SHORT = {"attempts": 2, "first_wait": 0.01, "longest_wait": 0.01}


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    server = JudgeServer()
    server.start()
    yield server
    server.stop()


class GoesAway:
    """Stops the judge when two steps have ended; a thread does then what is to be done about it."""

    def __init__(self, judge: JudgeServer, then: Callable[[], None] = lambda: None) -> None:
        self._judge, self._then = judge, then

    @hookimpl
    def morl_step_finished(self, step: int) -> None:
        if step + 1 == 2:
            self._judge.stop()
            threading.Thread(target=self._then, daemon=True).start()


@pytest.fixture
def peace(settings, judge, tmp_path):
    """The model of the run whose judge stays."""
    changes = {**STEPS, "output": str(tmp_path / "peace"), "rewards.quality": judge.section()}
    return train(settings(changes)).model


def test_a_run_waits_for_its_judge_as_long_as_it_may(settings, judge, peace, weights_of, same_bits):
    options = {key: value for key, value in judge.section().items() if key != "name"}
    waits = Judge(**options, attempts=100_000, first_wait=0.01, longest_wait=0.05, batch_limit=500)

    def come_back() -> None:
        before = waits.counters.retries
        while waits.counters.retries < before + 100:  # more than the default number of attempts makes of a batch
            threading.Event().wait(0.01)
        judge.start()

    changes = {**STEPS, "rewards.quality": {"timeout": 600, "on_failure": "raise"}}
    result = train(settings(changes), rewards={"quality": waits}, plugins=[GoesAway(judge, come_back)])
    assert waits.counters.retries >= 100
    assert same_bits(weights_of(result.model), weights_of(peace))


def test_a_run_that_may_not_miss_its_judge_ends_at_once_and_resumes_without_a_difference(
    settings, judge, peace, weights_of, same_bits
):
    config = settings({**STEPS, "rewards.quality": judge.section(**SHORT, on_failure="raise")})
    with pytest.raises(RewardError, match=r"connection: "):
        train(config, plugins=[GoesAway(judge)])
    with pytest.raises(RewardError, match=r"connection: "):
        train(config, resume=True)  # it is still away
    judge.start()
    result = train(config, resume=True)
    assert same_bits(weights_of(result.model), weights_of(peace))


@pytest.mark.parametrize("patience", [2, None])
def test_a_judge_that_is_gone_ends_the_run_after_so_many_steps_or_never(settings, judge, patience, rows_of):
    config = settings({**STEPS, "rewards.quality": judge.section(**SHORT, max_failed_steps=patience)})
    if patience is None:
        result = train(config, plugins=[GoesAway(judge)])
        assert [float(row["reward/quality/failed"]) for row in rows_of(result)] == [0, 0, 1, 1]
        return
    with pytest.raises(
        RewardError, match=r"'quality' failed 2 steps in a row.*connection: .*\n.*max_failed_steps to null"
    ):
        train(config, plugins=[GoesAway(judge)])
    judge.start()
    result = train(config, resume=True)
    assert [float(row["reward/quality/failed"]) for row in rows_of(result)] == [0, 0, 1, 0]
