"""Settings that lines share, and those in which they differ."""

from __future__ import annotations

import pytest

from morl.analysis.configs import compare_configs, unpaired_settings
from morl.analysis.runs import read_run
from morl.errors import ConfigError

REWARDS = {"good": [0.5, 0.6]}


def test_what_is_common_differs_or_belongs_to_a_run(make_run):
    def runs(line, **config):
        return [read_run(make_run(line, seed, REWARDS, **config)) for seed in (0, 1)]

    configs = compare_configs(
        {
            "grpo": runs("grpo", estimator={"name": "grpo"}, sampling={"stop": []}, loss={"lag": None}),
            "gdpo": runs("gdpo", estimator={"name": "gdpo", "batch_norm": True}, sampling={"stop": []}),
        }
    )
    assert configs.common == {
        "policy.name": "tiny",
        "optimizer.lr": 1e-6,
        "sampling.stop": [],
        "loss.lag": None,
    }
    assert configs.different == {
        "estimator.name": {"grpo": "grpo", "gdpo": "gdpo"},
        "estimator.batch_norm": {"gdpo": True},
    }
    assert configs.of_run == ("seed", "output", "policy.seed")


def test_runs_of_a_line_differ_by_their_seed_only(make_run):
    runs = [read_run(make_run("gdpo", seed, REWARDS, optimizer={"lr": seed / 10})) for seed in (1, 2)]
    with pytest.raises(ConfigError, match=r"line 'gdpo' have different settings: optimizer.lr is 0.1 in .* and 0.2 in"):
        compare_configs({"gdpo": runs})


def test_the_policy_of_a_seed_may_have_a_path_of_its_own(make_run):
    runs = [read_run(make_run("gdpo", seed, REWARDS, policy={"path": f"warm-{seed}"})) for seed in (1, 2)]
    assert "policy.path" in compare_configs({"gdpo": runs}).of_run


def test_runs_that_do_not_start_alike_are_no_pair(make_run):
    first = [read_run(make_run("grpo", seed, REWARDS)) for seed in (0, 1)]
    alike = [read_run(make_run("gdpo", seed, REWARDS)) for seed in (1, 2)]
    other = [read_run(make_run("gdpo", seed, REWARDS, policy={"seed": 7})) for seed in (1, 2)]
    assert list(unpaired_settings(first, alike)) == []
    assert list(unpaired_settings(first, other)) == [(1, "policy.seed")]
