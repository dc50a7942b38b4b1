"""What `morl compare` refuses, and that it does so before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from morl.compare.check import check_cells
from morl.compare.folder import StudyFolder
from morl.compare.grid import Grid
from morl.errors import ConfigError
from morl.plugins import Registry


@pytest.mark.parametrize(
    ("content", "arguments", "says"),
    [
        ({"fine": {}, "bad": {"estimator.epz": 1}}, [], "error: bad, seed 0: unknown key 'estimator.epz'"),
        ({"fine": {}, "bad": {"rewards.new.name": "lenght"}}, [], "bad, seed 0: rewards.new.name: unknown reward"),
        ({"fine": {}, "bad": {"rewards.new": {"name": "exact-match", "column": "answer"}}}, [], "no column 'answer'"),
        ({"fine": {}, "bad": {"prompts.path": "prompt.jsonl"}}, [], "bad, seed 0: "),
        ({"fine": {}, "bad": {"prompts.path.deep": 1}}, [], "bad, seed 0: --prompts.path.deep: 'path' has no keys"),
        ({"fine": {}, "bad": {"training.group_size": 1}}, [], "bad, seed 0: training.group_size=1"),
        (
            {"fine": {}, "bad": {"training.steps": None, "training.epochs": 1}},
            [],
            "bad, seed 0: training.epochs: runs are compared step by step; give their length in training.steps",
        ),
        (
            {"one": {}, "other": {"estimator.name": "gdpo"}},
            [],
            "'one, seed 0' and 'other, seed 0' have the same config: they would be one run, done twice",
        ),
        ({"fine": {}}, ["--vary", "rewards.short.weihgt=1,2"], "fine, short.weihgt=1, seed 0: unknown key"),
        ({"fine": {}}, ["--vary", "trainer.devices=1,2"], "all runs must agree on trainer.accelerator"),
        ({"fine": {}}, ["--seed_also", "policy.seed"], "fine, seed 0: unknown key 'policy.seed'"),
        ({"fine": {}}, ["--seedz", "3"], "unknown option --seedz"),
        ({"fine": {}}, ["--trainig.steps=3"], "fine, seed 0: unknown key 'trainig'; did you mean 'training'?"),
    ],
)
def test_a_typo_in_the_last_cell_shows_before_the_first_one_runs(compare, arms, content, arguments, says):
    code, said = compare("--arms", arms(content), "--seeds", "0", *arguments)
    assert code == 2
    assert says in " ".join(said.split())
    assert "Traceback" not in said
    assert not Path("out").exists()


def test_the_study_needs_a_folder_of_its_own(compare):
    Path("file").touch()
    Path("taken").mkdir()
    Path("taken/notes.txt").touch()
    code, said = compare("--seeds", "0", output="file")
    assert (code, said.splitlines()[-1]) == (2, "error: --output: file is a file; name a folder")
    code, said = compare("--seeds", "0", output="taken")
    assert code == 2
    assert "--output: taken holds other files than a study; choose a new folder" in said


def test_the_folder_may_stand_in_the_config(study, capsys):
    from morl.cli import main

    assert main(["compare", "config.yaml", "--seeds", "0"]) == 2
    assert "morl compare needs a folder for the study: --output FOLDER" in capsys.readouterr().err
    Path("config.yaml").write_text(yaml.safe_dump({**study, "output": "there"}))
    assert main(["compare", "config.yaml", "--seeds", "0", "--report_only"]) == 0
    assert "no run is finished, so there is nothing to report" in capsys.readouterr().err


def test_two_commands_do_not_work_on_one_folder(compare, tmp_path):
    # What a command holds while it works, without the seconds that its imports take.
    code = (
        "import fcntl, os, sys\nfile = open('out/.lock', 'w')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "print(os.getpid(), file=file, flush=True)\nprint('locked', flush=True)\nsys.stdin.read()"
    )
    Path("out").mkdir()
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    try:
        result, said = compare("--seeds", "0")
        assert result == 2
        assert f"another morl compare (process {other.pid}) is at work on out; wait for it" in said
        assert compare("--seeds", "0", "--report_only")[0] == 0, "to look is allowed"
    finally:
        other.communicate()
    with StudyFolder("out").lock():
        pass


@pytest.fixture
def one_cell(study):
    """The folder of a study and its only cell, with the run folder of a finished run."""
    registry, folder = Registry(), StudyFolder("out")

    def cell(**settings):
        base = {**study, **settings}
        return check_cells(base, Grid({"gdpo": {}}, {}, [0]).cells(), registry, folder.cells)[0]

    run = folder.run("gdpo-seed0")
    run.model.mkdir(parents=True)
    run.metrics.parent.mkdir()
    run.metrics.write_text("step,loss\n0,0.5\n1,0.5\n")
    run.config.write_text(yaml.safe_dump({**cell().settings, "output": "elsewhere"}))
    return folder, cell, registry


def test_a_run_is_finished_when_all_steps_and_the_model_are_there(one_cell):
    folder, _, _ = one_cell
    assert folder.is_finished("gdpo-seed0", 2, None)
    assert not folder.is_finished("gdpo-seed0", 3, None)
    folder.run("gdpo-seed0").checkpoints.mkdir()
    (folder.run("gdpo-seed0").checkpoints / "step-000003.ckpt").touch()
    assert folder.is_finished("gdpo-seed0", 3, None)
    folder.run("gdpo-seed0").model.rmdir()
    assert not folder.is_finished("gdpo-seed0", 2, None)


def test_a_run_of_another_config_is_refused_with_the_key(one_cell):
    folder, cell, registry = one_cell
    folder.check_unchanged(cell(), registry)
    with pytest.raises(ConfigError) as refused:
        folder.check_unchanged(cell(optimizer={"lr": 0.1}), registry)
    assert str(refused.value) == (
        "gdpo, seed 0: out/cells/gdpo-seed0 was made with optimizer.lr=0.003, and is optimizer.lr=0.1 now; choose a"
        " new folder with --output, or remove out/cells/gdpo-seed0"
    )


def test_settings_that_the_run_did_not_know_had_their_defaults(one_cell):
    folder, cell, registry = one_cell
    path = folder.run("gdpo-seed0").config
    older = yaml.safe_load(path.read_text())
    del older["training"]["inner_epochs"]
    path.write_text(yaml.safe_dump(older))
    folder.check_unchanged(cell(), registry)
    with pytest.raises(ConfigError, match=r"training\.inner_epochs=1, and is training\.inner_epochs=2"):
        folder.check_unchanged(cell(training={**older["training"], "inner_epochs": 2}), registry)


def test_only_what_is_a_run_is_replaced(one_cell):
    folder, _, _ = one_cell
    run = folder.run("gdpo-seed0").path
    (run / ".evaluation.json.draft").touch()
    folder.check_replaceable("gdpo-seed0")
    folder.check_replaceable("not-there-seed0")
    (run / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"out/cells/gdpo-seed0 holds notes\.txt; move it away, for the run is done"):
        folder.check_replaceable("gdpo-seed0")


def test_notes_in_an_unfinished_run_stop_the_command_before_it_removes_them(compare):
    notes = Path("out/cells/gdpo-seed1/notes.txt")
    notes.parent.mkdir(parents=True)
    notes.touch()
    Path("out/grid.yaml").touch()
    code, said = compare("--seeds", "0", "1")
    assert code == 2
    assert "out/cells/gdpo-seed1 holds notes.txt" in said
    assert notes.exists()
    assert not Path("out/cells/gdpo-seed0").exists()
