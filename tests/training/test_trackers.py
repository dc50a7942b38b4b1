"""Weights & Biases and MLflow by their short names, without a network; a package that is absent is named."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml

from morl import train
from morl.artifacts.folder import RunFolder
from morl.errors import ConfigError, MorlError
from morl.training.trackers import MOST_CHARACTERS, MOST_ROWS, check_trackers, mlflow_names, table

needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed (the extra wandb)")
needs_mlflow = pytest.mark.skipif(
    find_spec("mlflow") is None or find_spec("pandas") is None, reason="mlflow is not installed (the extra mlflow)"
)
SHORT = {"training.steps": 2, "training.samples_every": 1, "training.checkpoint_every": 1}


def logged(folder):
    with RunFolder(folder).metrics.open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


@needs_mlflow
def test_mlflow_has_the_names_values_settings_and_transcripts(settings, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    result = train(settings({**SHORT, "trainer.logger": "mlflow"}))
    folder = RunFolder(result.folder)
    assert not folder.tensorboard.exists()
    assert folder.strangers() == []
    client = MlflowClient(f"file:{folder.path / 'mlflow'}")
    run = client.get_run(folder.tracker_id("mlflow").read_text().strip())
    assert run.data.params["training/group_size"] == "4"
    rows = logged(folder.path)
    named = mlflow_names(rows[0])
    for name, value in rows[0].items():
        if name != "step" and math.isfinite(value):
            history = client.get_metric_history(run.info.run_id, named[name])
            assert (history[0].step, history[0].value) == (1, pytest.approx(value))
    tables = sorted((folder.path / "mlflow").rglob("transcripts/step-*.json"))
    assert [path.stem for path in tables] == ["step-000001", "step-000002"]
    assert json.loads(tables[0].read_text())["columns"][:3] == ["group", "prompt", "completion"]


@needs_wandb
def test_wandb_has_the_names_and_transcripts_offline(settings, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    result = train(settings({**SHORT, "trainer.logger": ["wandb", "tensorboard"]}))
    import wandb

    wandb.teardown()  # waits for its service, which writes what the run has handed over when the run is over already
    folder = RunFolder(result.folder)
    assert folder.strangers() == []
    assert folder.tensorboard.is_dir()
    (offline,) = (folder.path / "wandb").glob("offline-run-*")
    assert offline.name.endswith(folder.tracker_id("wandb").read_text().strip())
    (log,) = offline.glob("*.wandb")
    content = log.read_bytes()
    for name in logged(folder.path)[0]:
        assert name == "step" or name.encode() in content, name
    assert sorted(path.suffixes[-1] for path in offline.rglob("transcripts*.json")) == [".json", ".json"]


@needs_wandb
def test_every_run_of_a_process_has_a_run_of_its_own_also_after_one_that_failed(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tmp_path / "reward.py").write_text("def score(prompts, completions, **columns):\n    raise KeyError('gone')\n")
    broken = {"broken": {"name": "python", "function": f"{tmp_path / 'reward.py'}:score"}}
    with pytest.raises(MorlError):
        train(settings({**SHORT, "trainer.logger": "wandb", "output": str(tmp_path / "first"), "rewards": broken}))
    import wandb

    assert wandb.run is None
    again = settings({**SHORT, "training.steps": 1, "trainer.logger": "wandb", "output": str(tmp_path / "second")})
    folder = RunFolder(train(again).folder)
    assert wandb.run is None
    (offline,) = (folder.path / "wandb").glob("offline-run-*")
    assert offline.name.endswith(folder.tracker_id("wandb").read_text().strip())


TRAIN = """
import sys
from pathlib import Path
import yaml
from morl import train
train(yaml.safe_load(Path(sys.argv[1]).read_text()))
print("trained", flush=True)
"""


@needs_wandb
@needs_mlflow
def test_a_process_with_both_ends_by_itself(settings, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings({**SHORT, "trainer.logger": ["wandb", "mlflow"]})))
    command = [sys.executable, "-W", "ignore", "-c", TRAIN, str(config)]
    # The time limit is there to end a hang.
    ended = subprocess.run(
        command,
        env={**os.environ, "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "trained" in ended.stdout


def test_csv_alone_writes_nothing_else(settings):
    result = train(settings({**SHORT, "training.steps": 1, "trainer.logger": "csv"}))
    folder = RunFolder(result.folder)
    assert folder.metrics.is_file()
    assert not folder.tensorboard.exists()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("wandbb", "no logger 'wandbb'; did you mean 'wandb'"),
        (["csv", "comet"], "any other logger of Lightning goes into trainer.loggers"),
        (["csv", "csv"], "csv is given twice"),
    ],
)
def test_unknown_names_are_answered(names, says):
    with pytest.raises(ConfigError, match=says):
        check_trackers(names)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_absent_is_named_before_anything_is_loaded(name, settings, monkeypatch, tmp_path):
    monkeypatch.setattr("morl.training.trackers.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=rf"pip install 'morl-llm\[{name}\]'"):
        train(settings({"trainer.logger": name}))
    assert not (tmp_path / "run").exists()


def test_the_table_is_bounded_and_has_every_reward():
    rows = [
        {"group": n, "prompt": "x" * 9999, "completion": "y", "rewards": {"a": 1.0, **({"b": None} if n else {})}}
        for n in range(MOST_ROWS + 5)
    ]
    columns, data = table(rows)
    assert columns[-2:] == ["reward/a", "reward/b"]
    assert len(data) == MOST_ROWS
    assert all(len(row) == len(columns) for row in data)
    assert len(data[0][1]) == MOST_CHARACTERS
