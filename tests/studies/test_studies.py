"""The studies can be run as they stand, and what is committed of them is what their commands made."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from attrs import evolve

from morl.analysis.differences import holm, paired_difference
from morl.analysis.results import Results
from morl.compare.arguments import read_arguments
from morl.compare.grid import Grid, read_arms, read_vary
from morl.compare.tuned import read_tuned
from morl.config import merge, parse, read_configs
from morl.config.schema import RolloutConfig
from morl.errors import ConfigError
from morl.plugins import Registry
from morl.runtime.checks import check_settings
from morl.runtime.parts import build_parts

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "studies"))  # run.py is a script, and imports its neighbours
spec = importlib.util.spec_from_file_location("studies_run", ROOT / "studies" / "run.py")
assert spec is not None
assert spec.loader is not None
studies = importlib.util.module_from_spec(spec)
spec.loader.exec_module(studies)
experiments = studies.experiments


@pytest.mark.parametrize("name", studies.GRIDS)
def test_every_cell_can_be_built(name, tmp_path, monkeypatch):
    """Without its data: ToolRL's rows are not part of the project."""
    monkeypatch.chdir(ROOT)
    registry = Registry()
    _, tree, rest = read_configs(studies.arguments(name)[1:])
    asked = read_arguments(rest)
    grid = Grid(read_arms(asked.arms, asked.estimators), read_vary(asked.vary), asked.seeds, asked.seed_also)
    base = {**merge(tree, asked.overrides), "output": str(tmp_path)}
    cells = grid.cells()
    assert len(cells) >= 9
    # Seeds change nothing that could be refused: one of every arm, and the last of all.
    for cell in [cell for cell in cells if cell.seed == cells[0].seed or cell is cells[-1]]:
        config = parse(cell.apply(base), registry)
        if config.rollout.name == "vllm" and find_spec("vllm") is None:  # known, and refused for that alone
            with pytest.raises(ConfigError, match="vLLM is not installed"):
                build_parts(config, registry)
            config = evolve(config, rollout=RolloutConfig())
        check_settings(config, build_parts(config, registry))
        # One SFT-initialised policy per seed, the same for every arm: runs of a seed are pairs.
        assert config.policy.options["seed"] == config.seed == cell.seed
        assert config.evaluation is not None
        assert config.evaluation.prompts.options != config.prompts.options, "final figures are held out"


EXPERIMENTS = [name for name in experiments.EXPERIMENTS if (ROOT / "studies" / name / "results.json").is_file()]


@pytest.mark.parametrize("name", [*studies.GRIDS, *EXPERIMENTS])
def test_results_are_those_of_the_command_and_whole(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    results = Results.load(ROOT / "studies" / name / "results.json")
    command = experiments.arguments(name) if name in EXPERIMENTS else studies.arguments(name)
    assert shlex.split(results.command) == ["morl", *command]
    assert not results.failures
    asked = read_arguments(command[2:])
    for line in results.lines:
        assert set(line.steps) == set(asked.seeds)
    assert results.sources["final"] == "held-out"
    arms = read_arms(asked.arms, asked.estimators) if asked.tuned is None else read_tuned(asked.tuned).arms
    assert {line.arm for line in results.lines} == set(arms)


@pytest.mark.parametrize("name", [*studies.GRIDS, *EXPERIMENTS])
def test_intervals_and_p_values_can_be_had_again_from_the_file(name):
    results = Results.load(ROOT / "studies" / name / "results.json")
    scores = {line.name: line.scores["final"] for line in results.lines}
    for found in results.comparisons:
        first, second = (scores[line][found.reward].by_seed for line in (found.first, found.second))
        assert paired_difference(first, second) == found.difference
    family = [found for found in results.comparisons if found.p_adjusted is not None]
    assert holm([found.difference.p for found in family]) == [found.p_adjusted for found in family]


@pytest.mark.parametrize("name", studies.GRIDS)
def test_every_prompt_is_evaluated_often_enough(name, monkeypatch):
    """One completion per prompt makes differences between evaluations of one and the same model."""
    monkeypatch.chdir(ROOT)
    _, tree, _ = read_configs(studies.arguments(name)[1:])
    assert tree["evaluation"]["samples"] >= 8


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_ran_as_it_was_frozen(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    results = Results.load(ROOT / "studies" / name / "results.json")
    ran, frozen = shlex.split(results.command), experiments.arguments(name)
    assert sorted(ran) == sorted(["morl", *frozen]), "the same words, whatever their order"
    assert len([found for found in results.comparisons if found.declared]) == len(
        experiments.EXPERIMENTS[name].declared
    )
    if experiments.EXPERIMENTS[name].prompts is not None:
        tuned = yaml.safe_load((ROOT / "studies" / name / "tuned.yaml").read_text(encoding="utf-8"))
        assert shlex.split(tuned["command"]) == ["morl", *experiments.tuning_arguments(name)]
        assert {str(seed) for seed in tuned["seeds"]} == set(experiments.TUNING_SEEDS)


@pytest.mark.parametrize("name", [*studies.GRIDS, *EXPERIMENTS])
def test_plots_are_those_of_the_results(name, tmp_path):
    from morl.analysis.figures import save_study_plots

    folder = ROOT / "studies" / name
    made = {path.name for path in save_study_plots(folder / "results.json", tmp_path)}
    shown = {path.name for path in folder.glob("*.svg")}
    results = Results.load(folder / "results.json")
    assert shown == {plot for plot in made if studies.is_shown(plot, results)}
    page = (ROOT / "docs" / "explanation" / "studies.md").read_text(encoding="utf-8")
    assert all(f"studies/{name}/{plot}" in page for plot in shown), "what is committed is shown"


@pytest.mark.skipif(find_spec("vllm") is not None, reason="nothing is missing here")
@pytest.mark.parametrize("name", studies.ENGINE)
def test_a_study_that_needs_vllm_says_so(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", name])
    assert studies.main() == 1
    assert "needs vLLM, which is not installed here: make studies-vllm" in capsys.readouterr().err
