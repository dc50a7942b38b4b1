"""The folder of one run: everything needed to understand it, reload its model or resume it.

config.yaml          the resolved config
config.history       what was changed on the way, by step
environment.json     command, commits, versions, hardware, hashes of the files that were read
logs/metrics.csv     every metric of every step
tensorboard/         the same for TensorBoard
wandb/, mlflow/      the same for them, where `trainer.logger` names them; `run-id` is theirs
samples/             completions with rewards, contributions and advantages, JSON Lines by step
evaluation.json      rewards on the held-out prompts, by step
checkpoints/         Lightning checkpoints, the newest last
exports/             the policy after some of the steps, in the same form as model/
best/                the policy with the best evaluation, likewise
nonfinite/           batches whose gradient was NaN or infinite
report.html          the page that `morl report` writes
model/               the final policy and its tokenizer, in Hugging Face form
"""

from __future__ import annotations

import re
from pathlib import Path

from attrs import field, frozen

from morl.artifacts.files import draft_of
from morl.errors import ConfigError

_CHECKPOINT = re.compile(r"step-\d{6,}\.ckpt")
_NUMBERED = re.compile(r"(?:step|evaluation)-(\d{6,})")


@frozen
class RunFolder:
    """Paths of a run; knows nothing of their content."""

    path: Path = field(converter=Path)

    @property
    def config(self) -> Path:
        """YAML; written first, so it tells whether there is a run at all."""
        return self.path / "config.yaml"

    @property
    def history(self) -> Path:
        """What was changed when the run was resumed, and the files that it began with."""
        return self.path / "config.history"

    @property
    def lock(self) -> Path:
        """There while a process is running in the folder."""
        return self.path / ".lock"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def metrics(self) -> Path:
        """One row per step; see `morl.artifacts.metrics`."""
        return self.logs / "metrics.csv"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def tracker_id(self, tracker: str) -> Path:
        """Holds the id that a tracker (`wandb`, `mlflow`) knows the run by; what it keeps here stands beside it."""
        return self.path / tracker / "run-id"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    def sample_file(self, step: int) -> Path:
        """Completions that step number `step`, from 1, learned from."""
        return self.samples / f"step-{step:06d}.jsonl"

    def evaluation_sample_file(self, step: int) -> Path:
        """Completions of held-out prompts after `step` finished steps."""
        return self.samples / f"evaluation-{step:06d}.jsonl"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """The state after `step` finished steps; a file, or a folder under a sharded strategy."""
        return self.checkpoints / f"step-{step:06d}.ckpt"

    @property
    def model(self) -> Path:
        """Complete where it exists."""
        return self.path / "model"

    @property
    def exports(self) -> Path:
        return self.path / "exports"

    def export(self, step: int) -> Path:
        """The policy after `step` finished steps in Hugging Face form; complete where it exists."""
        return self.exports / f"step-{step:06d}"

    @property
    def nonfinite(self) -> Path:
        """Batches of optimizer steps whose gradient was not finite; kept also where the run itself is taken back."""
        return self.path / "nonfinite"

    @property
    def best(self) -> Path:
        """The policy with the best evaluation so far; complete where it exists."""
        return self.path / "best"

    @property
    def page(self) -> Path:
        """Where `morl report` writes its page unless told otherwise."""
        return self.path / "report.html"

    @property
    def entries(self) -> tuple[Path, ...]:
        """Everything that a run writes directly into its folder."""
        files = (self.config, self.history, self.environment, self.evaluation)
        models = (self.exports, self.best, self.model)
        trackers = [self.tracker_id(name).parent for name in ("wandb", "mlflow")]
        return (*files, self.logs, self.tensorboard, *trackers, self.samples, self.checkpoints, *models)

    def strangers(self) -> list[str]:
        """Names in the folder that no run writes; what a killed process was writing counts as the run's."""
        known = {name for entry in self.entries for name in (entry.name, draft_of(entry).name)}
        known |= {entry.name for entry in (self.lock, self.page, self.nonfinite)}
        known |= {damaged(entry).name for entry in (self.evaluation, self.history)}
        return sorted(entry.name for entry in self.path.iterdir() if entry.name not in known)

    def all_checkpoints(self) -> list[Path]:
        """The oldest first."""
        found = [path for path in self.checkpoints.glob("step-*.ckpt") if _CHECKPOINT.fullmatch(path.name)]
        return sorted(found, key=steps_in)

    def stray_checkpoints(self) -> list[str]:
        """Names among the checkpoints that look like one of the run's, and are none."""
        return sorted(p.name for p in self.checkpoints.glob("*.ckpt") if not _CHECKPOINT.fullmatch(p.name))

    def later_samples(self, step: int) -> list[Path]:
        """Samples of steps after `step`."""
        return _later(self.samples, step)

    def later_exports(self, step: int) -> list[Path]:
        """Exports of steps after `step`."""
        return _later(self.exports, step)

    def latest_checkpoint(self) -> Path:
        """The newest complete checkpoint, by its name.

        Raises:
            ConfigError: there is none.
        """
        found = self.complete_checkpoints()
        if not found:
            raise ConfigError(
                f"{self.path} has no checkpoint to resume from; start anew in another folder:"
                f" morl train {self.config} --output=FOLDER"
            )
        return found[-1]

    def complete_checkpoints(self) -> list[Path]:
        """Those that are not known to be half-written, the oldest first."""
        return [path for path in self.all_checkpoints() if _is_complete(path)]


def _later(folder: Path, step: int) -> list[Path]:
    found = {path: _NUMBERED.match(path.name) for path in sorted(folder.glob("*"))}
    return [path for path, number in found.items() if number is not None and int(number[1]) > step]


def steps_in(checkpoint: Path | None) -> int:
    """Finished steps of a checkpoint, by its name; 0 for none."""
    return int(checkpoint.stem.removeprefix("step-")) if checkpoint is not None else 0


def damaged(path: Path) -> Path:
    """Where a file of the run that cannot be used is kept."""
    return path.with_name(path.name + ".damaged")


def _is_complete(checkpoint: Path) -> bool:
    """Sharded checkpoints are folders, and complete when Lightning has written their metadata, which it does last."""
    return checkpoint.is_file() or (checkpoint / "meta.pt").is_file()
