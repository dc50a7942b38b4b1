"""The grid: every combination once, each with exactly its own settings, and nothing that would be lost unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.compare.grid import Grid, read_arms, read_vary, short_key
from morl.errors import ConfigError

ARMS = {"grpo": {"estimator.name": "grpo"}, "gdpo, no batch": {"estimator": {"name": "gdpo", "batch_norm": False}}}
BASE = {
    "seed": 9,
    "estimator": {"name": "gdpo", "eps": 1e-5},
    "rewards": {"length": {"name": "length", "limit": 4}},
    "policy": {"name": "playground", "seed": 5},
}


@given(
    st.lists(st.integers(0, 99), unique=True, min_size=1, max_size=4),
    st.lists(st.floats(0.25, 4), unique=True, min_size=1, max_size=3),
    st.lists(st.integers(1, 9), unique=True, min_size=1, max_size=3),
)
def test_every_combination_is_there_once_and_seeds_come_one_after_the_other(seeds, weights, limits):
    vary = {"rewards.length.weight": weights, "rewards.length.limit": limits}
    cells = Grid(ARMS, vary, seeds).cells()
    assert [cell.seed for cell in cells] == [seed for seed in seeds for _ in range(len(cells) // len(seeds))]
    combinations = {(cell.arm, *cell.varied.values(), cell.seed) for cell in cells}
    assert len(combinations) == len(cells) == len(ARMS) * len(weights) * len(limits) * len(seeds)
    assert len({cell.slug for cell in cells}) == len(cells)
    assert len({cell.line for cell in cells}) * len(seeds) == len(cells)


def test_a_cell_is_the_config_with_its_arm_its_varied_settings_and_its_seed():
    grid = Grid(ARMS, {"rewards.length.weight": [0.5]}, [3], ["policy.seed"])
    grpo, gdpo = (cell.apply(BASE) for cell in grid.cells())
    assert grpo["estimator"] == {"name": "grpo", "eps": 1e-5}, "a dotted key leaves its neighbours alone"
    assert gdpo["estimator"] == {"name": "gdpo", "batch_norm": False}, "a mapping takes the section's place"
    for tree in (grpo, gdpo):
        assert tree["rewards"] == {"length": {"name": "length", "limit": 4, "weight": 0.5}}
        assert tree["seed"] == tree["policy"]["seed"] == 3
    assert BASE["policy"]["seed"] == 5


def test_all_arms_of_a_seed_share_what_takes_the_seed():
    cells = Grid(ARMS, {}, [0, 1, 7], ["policy.seed", "policy.other"]).cells()
    for seed in (0, 1, 7):
        trees = [cell.apply(BASE) for cell in cells if cell.seed == seed]
        assert [tree["policy"] for tree in trees] == [{"name": "playground", "seed": seed, "other": seed}] * 2


def test_labels_and_folders_say_what_a_cell_is():
    first, _ = Grid({"GDPO (ours)": {}}, {"rewards.length.weight": [1, 0.5]}, [0]).cells()
    assert first.line == "GDPO (ours), length.weight=1"
    assert first.slug == "gdpo-ours-length.weight-1-seed0"
    assert str(first) == "GDPO (ours), length.weight=1, seed 0"


def test_a_varied_key_is_shortened_only_as_far_as_it_stays_itself():
    assert short_key("rewards.length.weight", ["rewards.length.weight", "rewards.right.weight"]) == "length.weight"
    assert short_key("optimizer.lr", ["optimizer.lr"]) == "optimizer.lr"
    assert short_key("a.b.c.d", ["a.b.c.d", "x.y.c.d"]) == "b.c.d"


def test_an_arm_may_take_out_a_reward_and_values_keep_their_types():
    cell, *_ = Grid({"a": {"rewards.length": None, "optimizer.lr": 1e-05, "x.y": "on"}}, {}, [0]).cells()
    tree = cell.apply({**BASE, "x": {}})
    assert tree["rewards"] == {}
    assert tree["optimizer"] == {"lr": 1e-05}
    assert tree["x"] == {"y": "on"}


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (Grid(ARMS, {}, [1, 1]), "--seeds: 1 is given twice"),
        (Grid(ARMS, {}, [0, -1]), "--seeds: a seed is at least 0; got -1"),
        (Grid({"a": {"seed": 3}}, {}, [0]), "arm 'a': seed would have no effect, for the seeds of the study set it"),
        (Grid({"a": {"policy": {"seed": 3}}}, {}, [0], ["policy.seed"]), "arm 'a': policy.seed would have no effect"),
        (Grid({"a": {}}, {"policy.seed": [1]}, [0], ["policy.seed"]), "--vary: policy.seed would have no effect"),
        (Grid({"a": {"output": "x"}}, {}, [0]), "output would have no effect, for every run has a folder of its own"),
        (
            Grid({"a": {"estimator": {"eps": 1}}}, {"estimator.eps": [1, 2]}, [0]),
            "arm 'a': estimator.eps would have no effect, for --vary sets it",
        ),
        (
            Grid({"a": {}}, {"estimator.eps": [1], "estimator": [{"name": "grpo"}]}, [0]),
            "--vary: estimator.eps would have no effect, for --vary estimator sets it",
        ),
        (Grid({"a b": {}, "a-b": {}}, {}, [0]), "'a b, seed 0' and 'a-b, seed 0' would share the folder 'a-b-seed0'"),
        (Grid({"a": {}}, {"x.y": [1, {"z": 2}, {"z": 2}]}, [0]), "--vary: x.y has the value {'z': 2} twice"),
        (Grid({"!": {}}, {}, [0]), "arm '!' needs a letter or a digit in its label"),
    ],
)
def test_what_would_be_lost_or_mixed_up_is_refused(grid, says):
    with pytest.raises(ConfigError) as refused:
        grid.cells()
    assert says in str(refused.value)


def test_values_are_read_as_yaml():
    assert read_vary(["a.b=1,0.5,true,null,on", "--c.d=[1, 2],{x: 1, y: 2}", "e.f=1e-4"]) == {
        "a.b": [1, 0.5, True, None, "on"],
        "c.d": [[1, 2], {"x": 1, "y": 2}],
        "e.f": [1e-4],
    }


@pytest.mark.parametrize("argument", ["a.b", "a.b=", "=1,2", "a.b=[1,2", "a.b=1,,2"])
def test_a_vary_that_cannot_be_read_is_refused(argument):
    with pytest.raises(ConfigError, match="--vary takes KEY=VALUE,VALUE"):
        read_vary([argument])


def test_a_key_is_varied_once():
    with pytest.raises(ConfigError, match=r"--vary: a\.b is given twice; list all its values at once"):
        read_vary(["a.b=1", "a.b=2"])


def test_arms_come_from_names_and_from_a_file(tmp_path: Path):
    path = tmp_path / "arms.yaml"
    path.write_text("no batch: {estimator: {name: gdpo, batch_norm: false}}\n1: {training.steps: 3}\n")
    assert read_arms(path, ["grpo"]) == {
        "grpo": {"estimator.name": "grpo"},
        "no batch": {"estimator": {"name": "gdpo", "batch_norm": False}},
        "1": {"training.steps": 3},
    }


@pytest.mark.parametrize(
    ("text", "estimators", "says"),
    [
        ("a: gdpo\n", [], "arm 'a' must be a mapping of settings"),
        ("gdpo: {}\n", ["gdpo"], "arm 'gdpo' is named by --estimators and in"),
        ("a: {}\n", ["gdpo", "gdpo"], "--estimators: 'gdpo' is given twice"),
        ("a: {}\na: {estimator.name: grpo}\n", [], "the key 'a' stands twice in one mapping"),
    ],
)
def test_arms_that_cannot_be_told_apart_or_read_are_refused(tmp_path: Path, text, estimators, says):
    path = tmp_path / "arms.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_arms(path, estimators)
    assert says in str(refused.value)
