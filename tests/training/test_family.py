"""Runs with morl-estimators, by name: refused early, resumed exactly, equal on ranks."""

from __future__ import annotations

import shutil

import pytest
import torch

from morl import train
from morl.errors import MorlError
from morl.training.state import same

LAGRANGIAN = {"name": "lagrangian", "constraints": {"short": {"at_least": 0.9}}, "lr": 0.5, "start": 1.0}
CTWA = {"name": "ctwa", "targets": {"vowel": 2.0}, "lr": 0.5}
ONCE = {"training.mini_batches": 1, "training.inner_epochs": 1}


def states(folder, step):
    checkpoint = torch.load(folder / "checkpoints" / f"step-{step:06d}.ckpt", weights_only=False)
    return checkpoint["morl_states"]["estimator.weighting"]["states"]


@pytest.mark.parametrize("weighting", [LAGRANGIAN, CTWA], ids=lambda weighting: weighting["name"])
def test_a_run_resumes_bit_for_bit(settings, weights_of, same_bits, tmp_path, weighting):
    config = settings(
        {**ONCE, "output": str(tmp_path / "whole"), "estimator": {"name": "gdpo", "weighting": weighting}}
    )
    whole = train(config)
    shutil.copytree(
        whole.folder, tmp_path / "half", ignore=shutil.ignore_patterns("step-000003*", "step-000004*", "model")
    )
    half = train({**config, "output": str(tmp_path / "half")}, resume=True)
    assert same_bits(weights_of(whole.model), weights_of(half.model))
    assert same(states(whole.folder, 4), states(half.folder, 4))
    assert not same(states(whole.folder, 2), states(whole.folder, 4)), "it adapts"


@pytest.mark.slow
def test_two_processes_have_one_state_and_resume(settings, weights_of, same_bits, tmp_path, run_cli):
    changes = {"training.steps": 2, "trainer.devices": 2, "trainer.strategy": "ddp"}
    config = settings(
        {**changes, "output": str(tmp_path / "whole"), "estimator": {"name": "gdpo", "weighting": LAGRANGIAN}}
    )
    done = run_cli(config, tmp_path)
    assert done.returncode == 0, done.output
    assert len(states(tmp_path / "whole", 1)) == 1, "the same on both"
    shutil.copytree(tmp_path / "whole", tmp_path / "half", ignore=shutil.ignore_patterns("step-000002.ckpt", "model"))
    done = run_cli(None, tmp_path, command=("resume", str(tmp_path / "half")))
    assert done.returncode == 0, done.output
    assert same_bits(*(weights_of(tmp_path / name / "model") for name in ("whole", "half")))
    assert same(states(tmp_path / "whole", 2), states(tmp_path / "half", 2))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"estimator": {"name": "gdpo", "weighting": "dora"}}, "unknown weighting 'dora'; did you mean 'dara'"),
        ({"estimator": {"name": "gdpo", "weighting": {"name": "schedule", "rewards": {"short": {"shape": "linear"}}}}},
         "estimator.weighting: .*needs start, end and steps; start, end, steps is missing"),
        ({"estimator": {"name": "gdpo", "weighting": {**LAGRANGIAN, "constraints": {"brief": {"at_least": 1}}}}},
         "unknown reward 'brief'"),
        ({"estimator": {"name": "gdpo", "weighting": "saw"}, "rewards.long": {"name": "python"}},
         "weighting 'saw' of morl-estimators .* needs the bounds of every reward, and long has none"),
        ({"estimator": {"name": "maxrl"}, "rewards.vowel.bounds": [-1, 1]}, "needs rewards of 0 or more; the bounds"),
        ({"estimator": {"name": "maxrl"}, "rewards.vowel.weight": -1}, "maxrl needs weights of 0 or more"),
        ({"estimator": {"name": "papo", "process": "vowel", "outcome": "right"}}, "unknown reward 'right'"),
        ({"estimator": {"name": "reinforce++", "baseline": "non"}}, "estimator.baseline must be batch or group"),
        ({"rewards.short.bounds": [1, 0]}, "low < high"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_a_model_is_loaded(settings, changes, fault, tmp_path):
    (tmp_path / "empty").mkdir()
    if "rewards.long" in changes:
        (tmp_path / "long.py").write_text(
            "def score(completions, **kwargs):\n    return [float(len(c)) for c in completions]\n"
        )
        changes = {**changes, "rewards.long": {"name": "python", "function": str(tmp_path / "long.py") + ":score"}}
    with pytest.raises(MorlError, match=fault):
        train(settings({**changes, "policy.path": str(tmp_path / "empty")}))


@pytest.mark.parametrize(
    "estimator",
    [
        {"name": "mo-grpo"},
        {"name": "papo", "process": "vowel", "outcome": "short"},
        {"name": "rloo"},
        {"name": "reinforce++", "baseline": "group"},
        {"name": "corr-grpo", "floor": 1.0},
        {"name": "gd2po", "form": "snr", "tau": 0.2},
        {"name": "maxrl"},
        {"name": "pareto-rank"},
        {"name": "conditioned-gdpo", "weighting": {"name": "dara"},
         "conditions": {"vowel": {"on": "short", "otherwise": "missing"}}},
        {"name": "gdpo", "batch_norm": False, "ddof": 0, "weighting": "dvao"},
        {"name": "gdpo", "weighting": {"name": "sa-mrpo", "gamma": 1.0}},
        {"name": "gdpo", "weighting": "saw"},
        {"name": "gdpo", "weighting": {"name": "schedule", "rewards": {
            "vowel": {"shape": "piecewise", "points": {0: 1.0, 1: 0.0}}}}},
    ],
    ids=lambda estimator: estimator["name"] + str(estimator.get("weighting", "")),
)  # fmt: skip
def test_every_name_trains(settings, estimator):
    result = train(settings({**ONCE, "training.steps": 1, "training.checkpoint_every": 0, "estimator": estimator}))
    assert result.folder.joinpath("model").is_dir()
