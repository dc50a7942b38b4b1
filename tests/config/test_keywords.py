"""Keyword arguments from Python: one that nothing takes is answered as the key of a file is."""

from __future__ import annotations

import inspect

import pytest

import morl
from morl import Config, ConfigError
from morl.config import OptimizerConfig, TrainingConfig


@pytest.mark.parametrize(
    ("made", "given", "said"),
    [
        (
            Config,
            {"learning_rate": 1e-6, "num_generations": 8},
            "unknown key 'learning_rate'\n  TRL's learning_rate is optimizer.lr\n"
            "  TRL's num_generations is training.group_size",
        ),
        (Config, {"estimatr": {}}, "unknown key 'estimatr'; did you mean 'estimator'?"),
        (Config, {"stepz": 3}, "unknown key 'stepz'; did you mean 'training.steps'?"),
        (TrainingConfig, {"stepz": 3}, "unknown key 'training.stepz'; did you mean 'steps'?"),
        (
            TrainingConfig,
            {"num_generations": 8},
            "unknown key 'training.num_generations'\n  TRL's num_generations is training.group_size",
        ),
        (
            OptimizerConfig,
            {"learning_rate": 1.0},
            "unknown key 'optimizer.learning_rate'\n  TRL's learning_rate is optimizer.lr",
        ),
    ],
)
def test_an_unknown_field_is_answered_with_what_was_meant(made, given, said):
    with pytest.raises(ConfigError) as raised:
        made(**given)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"learning_rate": 1e-6}, "\n  TRL's learning_rate is optimizer.lr"),
        (
            {"seed": 1},
            "morl.train takes no argument 'seed'; settings are keys of the config, its first argument, as in",
        ),
        ({"pompts": []}, "morl.train takes no argument 'pompts'; did you mean 'prompts'?"),
    ],
)
def test_so_is_an_argument_of_train(given, said):
    with pytest.raises(ConfigError) as raised:
        morl.train({}, **given)
    assert said in str(raised.value)


def test_what_is_known_arrives_and_signatures_stay_as_they_are():
    assert Config(seed=3, training=TrainingConfig(steps=4)).training.steps == 4
    assert "steps" in inspect.signature(TrainingConfig).parameters
    assert next(iter(inspect.signature(morl.train).parameters)) == "config"
