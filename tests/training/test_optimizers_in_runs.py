"""Optimizers and schedules by their names in the config of a run, and how long a run is."""

from __future__ import annotations

import shutil

import pytest

from morl import ConfigError, train
from morl.config import parse, to_mapping
from morl.plugins import Registry
from morl.training.arithmetic import step_in_words

OPTIMIZERS = {
    "adafactor": {"optimizer.name": "adafactor"},
    "muon": {"optimizer.name": "muon", "optimizer.weight_decay": 0.1, "optimizer.schedule": "cosine"},
    "torch": {"optimizer.name": "torch", "optimizer.class_path": "SGD", "optimizer.init_args": {"momentum": 0.9}},
    "matrices": {"optimizer.weight_decay": 0.1, "optimizer.decay": "matrices", "optimizer.min_lr": 1e-4},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_resumes_bit_identical_with_each_optimizer(name, settings, weights_of, tmp_path, same_bits):
    whole = train(settings(OPTIMIZERS[name]))
    resumed = tmp_path / "resumed"
    shutil.copytree(whole.folder, resumed)
    shutil.rmtree(resumed / "model")
    for checkpoint in (resumed / "checkpoints").glob("*.ckpt"):
        if int(checkpoint.stem.removeprefix("step-")) > 2:
            checkpoint.unlink()
    result = train(settings(OPTIMIZERS[name] | {"output": str(resumed)}), resume=True)
    assert same_bits(weights_of(result.model), weights_of(whole.model))


def test_the_learning_rate_falls_to_min_lr_after_a_warm_up_as_a_share(settings, rows_of):
    changes = {"optimizer.warmup_steps": 0, "optimizer.warmup_ratio": 0.2, "training.steps": 5, "optimizer.lr": 0.01}
    result = train(settings(changes | {"optimizer.min_lr": 0.002, "optimizer.schedule": "linear"}))
    rates = [float(row["optimizer/lr"]) for row in rows_of(result)]
    assert rates == pytest.approx([0.005, 0.01, 0.008, 0.006, 0.004])


def test_a_schedule_of_transformers_by_name(settings, rows_of):
    schedule = {"name": "transformers", "type": "cosine_with_min_lr", "kwargs": {"min_lr": 0.001}}
    named = {"optimizer.schedule": schedule, "optimizer.lr": 0.01, "output": "elsewhere"}
    ours = {"optimizer.schedule": "cosine", "optimizer.min_lr": 0.001, "optimizer.lr": 0.01}
    named["output"] = str(settings()["output"]) + "-2"
    first, second = (train(settings(changes)) for changes in (named, ours))
    rates = [[float(row["optimizer/lr"]) for row in rows_of(result)] for result in (first, second)]
    assert rates[0] == pytest.approx(rates[1])


def test_epochs_become_steps_when_the_prompts_have_been_read(settings, rows_of):
    """40 prompts, 6 to a step: half an epoch is 4 steps, whose last begins nothing new."""
    epochs = {"training.steps": None, "training.epochs": 0.5}
    result = train(settings(epochs))
    rates = [float(row["optimizer/lr"]) for row in rows_of(result)]
    steps = train(settings({"training.steps": 4, "output": str(result.folder) + "-steps"}))
    assert len(rates) == 4
    assert rates == [float(row["optimizer/lr"]) for row in rows_of(steps)], "the schedule knows the length"
    with pytest.raises(ConfigError, match="has finished its 4 steps; to continue, give it more"):
        train(settings(epochs), resume=True)
    longer = train(settings(epochs | {"training.epochs": 0.8}), resume=True)
    assert len(rows_of(longer)) == 6


def test_epochs_survive_the_config_file():
    registry = Registry.for_config({})
    tree = {"policy": {"path": "x"}, "prompts": {"path": "y"}, "training": {"epochs": 2}}
    config = parse(tree, registry)
    assert (config.training.steps, config.training.epochs) == (None, 2.0)
    assert parse(to_mapping(config), registry) == config
    assert parse({**tree, "training": {}}, registry).training.steps == 100
    assert config.training.in_steps(100).steps == 7


def test_the_arithmetic_of_a_step_in_words():
    registry = Registry.for_config({})
    training = {"steps": 10, "prompts_per_step": 6, "group_size": 4, "mini_batches": 4, "inner_epochs": 2}
    config = parse({"policy": {"path": "x"}, "prompts": {"path": "y"}, "training": training}, registry)
    assert step_in_words(config.training, 30, 2, 512).splitlines() == [
        "a step: 6 prompts x 4 completions = 24 completions on 2 ranks;"
        " 8 optimizer steps of about 6 completions (2 passes over the batch)",
        "a pass: 512 tokens at most on each rank; the run: 10 steps, 2 epochs of 30 prompts",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.min_lr": 1.0}, "optimizer.min_lr=1.0 must be below optimizer.lr"),
        ({"optimizer.min_lr": 1e-4, "optimizer.schedule": "constant"}, "has no effect: the schedule `constant`"),
        ({"optimizer.warmup_ratio": 0.1}, "both say how long the warm-up is"),
        ({"optimizer.warmup_ratio": 1.0, "optimizer.warmup_steps": 0}, "is a share of the run, below 1"),
        ({"training.epochs": 1.0}, "training.steps=4 and training.epochs=1.0 both say how long the run is"),
        (
            {"training.steps": None, "training.epochs": 0.3, "optimizer.warmup_steps": 2},
            "optimizer.warmup_steps=2 leaves no step at the full learning rate; training.steps is 2",
        ),
        (
            {"optimizer.name": "adafactor", "trainer.strategy": "fsdp2"},
            "optimizer.name=adafactor is not known to step on sharded weights",
        ),
        (
            {"optimizer.name": "torch", "optimizer.class_path": "Rprop", "trainer.strategy": "fsdp2"},
            "optimizer.class_path=Rprop is not known to step on sharded weights",
        ),
        ({"optimizer.schedule": {"name": "transformers", "type": "cos"}}, "optimizer.schedule: type: transformers has"),
        (
            {"optimizer.warmup_steps": 1, "optimizer.schedule": {"name": "wsd", "decay_steps": 4}},
            "optimizer.schedule: schedule WarmupStableDecay: decay_steps=4 must be at most the 3 steps",
        ),
        ({"optimizer.name": "torch", "optimizer.class_path": "LBFGS"}, "optimizer: class_path: LBFGS cannot train"),
    ],
)
def test_what_has_no_effect_or_cannot_work_is_refused(changes, message, settings):
    with pytest.raises(ConfigError, match=message):
        train(settings(changes))
