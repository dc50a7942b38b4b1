"""Lightning's callbacks that decide on a run: what works, and what is refused."""

from __future__ import annotations

import pytest
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, StochasticWeightAveraging

from morl import ConfigError, train


def evaluated(prompt_file):
    return {
        "evaluation": {"prompts": {"path": str(prompt_file), "limit": 4}, "every": 1},
        "training.steps": 6,
        "optimizer.lr": 0.0,
        "optimizer.schedule": "constant",
    }


def test_early_stopping_follows_a_held_out_reward(settings, prompt_file, rows_of):
    """Nothing is learned, and a quarter of a reward is not gained: patience ends after two evaluations more."""
    stopping = {"monitor": "evaluation/short", "mode": "max", "patience": 2, "check_on_train_epoch_end": False}
    callback = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": stopping | {"min_delta": 0.25}}
    result = train(settings(evaluated(prompt_file) | {"trainer.callbacks": [callback]}))
    assert len(rows_of(result)) == 3
    assert max(result.evaluations) == 3
    assert result.model.is_dir()


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (lambda: EarlyStopping("evaluation/short"), "set check_on_train_epoch_end: false"),
        (lambda: EarlyStopping("loss", check_on_train_epoch_end=False), "set its monitor to evaluation/<reward>"),
        (EMAWeightAveraging, "EMAWeightAveraging would average the counters of the run"),
        (lambda: StochasticWeightAveraging(0.1), "StochasticWeightAveraging would average the counters"),
    ],
)
def test_a_callback_that_would_do_nothing_or_harm_is_refused(callback, message, settings, prompt_file):
    with pytest.raises(ConfigError, match=message):
        train(settings(evaluated(prompt_file)), callbacks=[callback()])
