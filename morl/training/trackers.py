"""Where metrics go besides `logs/metrics.csv`: TensorBoard, Weights & Biases, MLflow, by their short names."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning_utilities.core.rank_zero import rank_zero_only

from morl.artifacts.files import write_text
from morl.artifacts.folder import RunFolder
from morl.errors import ConfigError, suggest
from morl.runtime.exchange import is_first_rank

PROJECT = "morl"
"""Of Weights & Biases, and experiment of MLflow, unless `WANDB_PROJECT` or `MLFLOW_EXPERIMENT_NAME` say another."""
TRANSCRIPTS = "transcripts"
MOST_ROWS = 64
"""Completions in the table of a step; the samples file has all that are written."""
MOST_CHARACTERS = 2_000
"""Of a text in the table."""
_COLUMNS = ("group", "prompt", "completion", "status", "tokens", "advantage")

Row = Mapping[str, Any]


class WandbTracker(WandbLogger):
    """Weights & Biases under the names of `docs/reference/metrics.md`, offline too (`WANDB_MODE=offline`)."""

    @rank_zero_only
    def log_transcripts(self, step: int, rows: Sequence[Row]) -> None:
        """Logs a table of completions."""
        columns, data = table(rows)
        self.log_table(TRANSCRIPTS, columns=columns, data=data, step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends the run: Lightning leaves it open, and the next one of the same process would be taken for it."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None


class MLflowTracker(MLFlowLogger):
    """MLflow under the names of `docs/reference/metrics.md`, as far as it allows them: see `mlflow_names`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs the metrics of a step."""
        names = mlflow_names(metrics)
        super().log_metrics({names[name]: value for name, value in metrics.items()}, step)

    @rank_zero_only
    def log_transcripts(self, step: int, rows: Sequence[Row]) -> None:
        """Logs a table of completions, as MLflow's pages show one."""
        columns, data = table(rows)
        by_column = {name: [row[k] for row in data] for k, name in enumerate(columns)}
        self.experiment.log_table(self.run_id, by_column, f"{TRANSCRIPTS}/step-{step:06d}.json")


def mlflow_names(names: Iterable[str]) -> dict[str, str]:
    """Names as MLflow takes them: no `~`, and none that is a folder of others, for it keeps each in a file.

    >>> list(mlflow_names(["time/reward", "time/reward/brief", "reward_correlation/a~b"]).values())
    ['time/reward.all', 'time/reward/brief', 'reward_correlation/a-b']
    """
    found = [*names]
    folders = {name.rsplit("/", depth)[0] for name in found for depth in range(1, name.count("/") + 1)}
    return {name: name.replace("~", "-") + (".all" if name in folders else "") for name in found}


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of completions: what was asked and answered, each reward, the advantage.

    Args:
        rows: lines of a samples file.
    """
    kept = rows[:MOST_ROWS]
    rewards = list(dict.fromkeys(f"reward/{name}" for row in kept for name in row["rewards"]))
    columns = [*_COLUMNS, *rewards]
    flat = [{**row, **{f"reward/{name}": score for name, score in row["rewards"].items()}} for row in kept]
    return columns, [[_cut(row.get(name)) for name in columns] for row in flat]


def _cut(value: Any) -> Any:
    return value[:MOST_CHARACTERS] if isinstance(value, str) else value


def _tensorboard(folder: RunFolder, done: int) -> Logger:
    return TensorBoardLogger(folder.path, name=folder.tensorboard.name, version="", purge_step=done + 1)


def _wandb(folder: RunFolder, done: int) -> Logger:
    _require("wandb", "wandb")
    # A resumed run continues the one that its folder began.
    name = hashlib.sha256(f"{folder.path.absolute()} {time.time_ns()}".encode()).hexdigest()[:16]
    return WandbTracker(
        name=folder.path.name,
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        save_dir=str(folder.path),
        id=_known(folder.tracker_id("wandb"), lambda: name),
        resume="allow",
    )


def _mlflow(folder: RunFolder, done: int) -> Logger:
    _require("mlflow", "mlflow")
    _require("pandas", "mlflow")
    # Files in the run folder, which goes where the folder goes; MLflow 3 asks for its database unless told so.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    # A run sends nothing anywhere that nobody asked for.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    note = folder.tracker_id("mlflow")
    tracker = MLflowTracker(
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
        run_name=folder.path.name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"),
        save_dir=str(note.parent.absolute()),
        run_id=note.read_text("utf-8").strip() if note.is_file() else None,
    )
    _known(note, lambda: str(tracker.run_id))
    return tracker


TRACKERS: Mapping[str, Callable[[RunFolder, int], Logger] | None] = {
    "csv": None,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
"""By short name; `csv` is `logs/metrics.csv`, which is always written."""


_EXTRA = {"tensorboard": "train", "wandb": "wandb", "mlflow": "mlflow"}
"""By short name, which is that of the package."""


def check_trackers(names: str | Sequence[str]) -> list[str]:
    """The names as a list.

    Raises:
        ConfigError: an unknown name, one that is given twice, or a package that is not installed.
    """
    found = [names] if isinstance(names, str) else [*names]
    for name in found:
        if name not in TRACKERS:
            known = ", ".join(TRACKERS)
            raise ConfigError(
                f"trainer.logger: no logger {name!r}{suggest(name, TRACKERS)}; there are: {known}; any other logger of"
                " Lightning goes into trainer.loggers"
            )
        if found.count(name) > 1:
            raise ConfigError(f"trainer.logger: {name} is given twice")
        if name in _EXTRA:
            _require(name, _EXTRA[name])
    return found


def open_trackers(names: str | Sequence[str], folder: RunFolder, done: int) -> list[Logger]:
    """Loggers by short name, for a run that has finished `done` steps."""
    made = (TRACKERS[name] for name in check_trackers(names))
    return [open_one(folder, done) for open_one in made if open_one is not None]


def _known(note: Path, new: Callable[[], str]) -> str:
    """What stands in the file; if there is none, a new one, which the first rank writes down."""
    if note.is_file():
        return note.read_text("utf-8").strip()
    if not is_first_rank():
        return ""
    text = new()
    note.parent.mkdir(parents=True, exist_ok=True)
    write_text(note, f"{text}\n")
    return text


def _require(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise ConfigError(
            f"trainer.logger={package} needs the package {package}; install it with: pip install 'morl-llm[{extra}]'"
        )
