"""The folder of a study: what was asked, what of it is done, and who is at work on it.

grid.yaml       what was asked: the command, the shared config, arms, varied settings, seeds, versions
cells.json      the state of every cell, with its seconds
configs/        the config of every cell; `morl train` takes each of them
cells/          the run folders
logs/           what the cells printed
report.html     the report, and results.json with its numbers
declared.json   what was declared, and how many runs had finished by then
tuned.yaml      of a tuning grid: the arms with their best settings, and the seeds and prompts that these took
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml
from attrs import asdict, evolve, field, frozen

from morl.artifacts.files import write_text
from morl.artifacts.folder import RunFolder, steps_in
from morl.artifacts.table import read_rows
from morl.compare.arguments import Keep
from morl.compare.check import CheckedCell
from morl.compare.differences import first_difference
from morl.config import parse, read_yaml, to_mapping
from morl.errors import ConfigError, MorlError
from morl.plugins import Registry

State: TypeAlias = Literal["waiting", "running", "finished", "failed", "interrupted"]


@frozen
class Record:
    """What `cells.json` says of a cell.

    Attributes:
        line: its arm and varied settings.
        seed: of the run.
        state: how far it is.
        seconds: that it ran, over all attempts.
        error: of the last attempt, if that failed.
    """

    line: str
    seed: int
    state: State = "waiting"
    seconds: float = 0.0
    error: str | None = None


@frozen
class StudyFolder:
    """Paths and records of a study."""

    path: Path = field(converter=Path)

    @property
    def grid(self) -> Path:
        return self.path / "grid.yaml"

    @property
    def records(self) -> Path:
        return self.path / "cells.json"

    @property
    def cells(self) -> Path:
        return self.path / "cells"

    @property
    def declared(self) -> Path:
        return self.path / "declared.json"

    @property
    def tuned(self) -> Path:
        return self.path / "tuned.yaml"

    def config(self, slug: str) -> Path:
        return self.path / "configs" / f"{slug}.yaml"

    def log(self, slug: str) -> Path:
        return self.path / "logs" / f"{slug}.log"

    def run(self, slug: str) -> RunFolder:
        return RunFolder(self.cells / slug)

    def check(self) -> None:
        """Refuses a folder that holds something else than a study.

        Raises:
            ConfigError: names the folder.
        """
        if self.path.is_file():
            raise ConfigError(f"--output: {self.path} is a file; name a folder")
        if self.path.is_dir() and not self.grid.exists() and any(e.name != ".lock" for e in self.path.iterdir()):
            raise ConfigError(f"--output: {self.path} holds other files than a study; choose a new folder")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Within it no other `morl compare` works on the folder, which is made if need be.

        Raises:
            ConfigError: another one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise ConfigError(
                    f"another morl compare (process {file.read().strip()}) is at work on {self.path}; wait for it, or"
                    " choose another folder with --output"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def read_records(self) -> dict[str, Record]:
        """Slug -> record, of this command's cells and of earlier ones."""
        if not self.records.is_file():
            return {}
        return {slug: Record(**record) for slug, record in json.loads(self.records.read_text("utf-8")).items()}

    def write_records(self, records: Mapping[str, Record]) -> None:
        """Replaces `cells.json` at once."""
        write_text(
            self.records, json.dumps({slug: asdict(record) for slug, record in records.items()}, indent=1) + "\n"
        )

    def write_grid(self, grid: Mapping[str, Any], cells: Iterable[CheckedCell]) -> None:
        """Writes down what was asked, and the config of every cell."""
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in ("cells", "configs", "logs"):
            (self.path / folder).mkdir(exist_ok=True)
        write_text(self.grid, yaml.safe_dump(dict(grid), sort_keys=False, allow_unicode=True))
        for cell in cells:
            write_text(self.config(cell.slug), yaml.safe_dump(dict(cell.settings), sort_keys=False))

    def is_finished(self, slug: str, steps: int, record: Record | None) -> bool:
        """Whether all steps of a run are done; the record decides where its model was not kept."""
        run = self.run(slug)
        if not run.config.is_file():
            return False
        if record is not None and record.state == "finished":
            return True
        return run.model.is_dir() and max(finished_steps(run), _checkpointed_steps(run)) >= steps

    def has_work(self, slug: str, record: Record | None) -> bool:
        """Whether something of a run would be lost if it were done anew."""
        run, finished = self.run(slug), record is not None and record.state == "finished"
        return run.config.is_file() and (finished or run.model.is_dir() or has_checkpoint(run))

    def check_unchanged(self, cell: CheckedCell, registry: Registry) -> None:
        """Refuses to resume a run that was made with another config.

        Raises:
            ConfigError: names the cell, the key, both values and the ways out.
        """
        run = self.run(cell.slug)
        before = read_yaml(run.config)
        if _without_output(before) == _without_output(cell.settings):
            return
        with suppress(MorlError):
            # Settings that morl did not have at the time had their defaults.
            before = to_mapping(parse(before, registry))
        changed = first_difference(_without_output(before), _without_output(cell.settings))
        if changed is not None:
            key, old, new = changed
            raise ConfigError(
                f"{cell.cell}: {run.path} was made with {key}={old!r}, and is {key}={new!r} now; choose a new folder"
                f" with --output, or remove {run.path}"
            )

    def check_replaceable(self, slug: str) -> None:
        """Refuses to do a run anew, which removes what is left of it, where something else would be lost.

        Raises:
            ConfigError: names what is no part of a run.
        """
        run = self.run(slug)
        path, others = run.path, run.strangers() if run.path.is_dir() else []
        if others or path.is_file():
            raise ConfigError(f"{path} holds {', '.join(others) or 'no run'}; move it away, for the run is done anew")

    def tidy(self, slug: str, keep: Keep) -> None:
        """Removes of a finished run what is not to be kept."""
        if keep != "checkpoints":
            shutil.rmtree(self.run(slug).checkpoints, ignore_errors=True)
        if keep == "nothing":
            shutil.rmtree(self.run(slug).model, ignore_errors=True)


def finished_steps(run: RunFolder) -> int:
    """Steps that a run, or the last part of it, has written metrics of."""
    if not run.metrics.is_file():
        return 0
    rows, _ = read_rows(run.metrics)
    return max((int(row["step"]) for row in rows), default=0)


def has_checkpoint(run: RunFolder) -> bool:
    """Whether a run can be resumed."""
    return _checkpointed_steps(run) > 0


def _checkpointed_steps(run: RunFolder) -> int:
    try:
        return steps_in(run.latest_checkpoint())
    except ConfigError:
        return 0


def ended(record: Record, state: State, seconds: float, error: str | None = None) -> Record:
    """The record of a cell after an attempt."""
    return evolve(record, state=state, seconds=round(record.seconds + seconds, 1), error=error)


def _without_output(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "output"}
