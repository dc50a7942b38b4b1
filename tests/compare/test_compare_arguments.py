"""The command line of `morl compare`: what it takes, and one line with the fix for what it does not."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from morl.cli import main
from morl.compare.arguments import read_arguments
from morl.errors import ConfigError


def test_options_and_overrides_stand_in_any_order():
    line = (
        "--training.steps=3 --seeds 3 4 --estimators grpo gdpo --vary a.b=1,2 --optimizer.lr 1e-3"
        " --vary c.d=x --seed_also policy.seed --jobs 2 --keep nothing --output out --arms arms.yaml"
    )
    asked = read_arguments(shlex.split(line))
    assert asked.estimators == ("grpo", "gdpo")
    assert asked.arms == Path("arms.yaml")
    assert asked.vary == ("a.b=1,2", "c.d=x")
    assert (asked.seeds, asked.seed_also) == ((3, 4), ("policy.seed",))
    assert (asked.jobs, asked.keep, asked.output) == (2, "nothing", "out")
    assert asked.overrides == ("--training.steps=3", "--optimizer.lr", "1e-3")


def test_five_seeds_models_and_a_run_unless_told_otherwise():
    asked = read_arguments([])
    assert asked.seeds == (0, 1, 2, 3, 4)
    assert asked.keep == "models"
    assert not asked.report_only
    assert asked.jobs is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seedz", "1"], "unknown option --seedz; did you mean '--seeds'?"),
        (["--seed=3"], "give --seeds 0 1 2"),
        (["--seeds", "one"], "--seeds: invalid int value: 'one'"),
        (["--jobs", "0"], "--jobs is the number of runs at a time, at least 1; got 0"),
        (["--keep", "all"], "--keep: invalid choice: 'all'"),
        (["--estimators"], "--estimators: expected at least one argument"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, says):
    with pytest.raises(ConfigError) as refused:
        read_arguments(arguments)
    assert says in str(refused.value)


@pytest.mark.parametrize("arguments", [[], ["--seeds", "1"]])
def test_a_config_comes_first(capsys, arguments):
    assert main(["compare", *arguments]) == 2
    assert "morl compare needs a config first: morl compare CONFIG.yaml --estimators" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    assert main(["compare", "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("--estimators", "--arms", "--vary", "--seeds", "--seed_also", "--jobs", "--keep", "--report_only"):
        assert option in shown
    assert "--section.key=value" in shown
