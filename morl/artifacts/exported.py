"""The note beside the weights of an exported model: which step it is, and why it was kept."""

from __future__ import annotations

import json
from pathlib import Path

from attrs import asdict, frozen

from morl.artifacts.files import write_text

NOTE = "morl.json"


@frozen
class Exported:
    """Where a model comes from.

    Attributes:
        step: finished steps of its run.
        best: of the model kept as the best, the reward that says so.
        mean: held-out mean of that reward.
        checkpoint: of a model that was made from one, the checksum of the checkpoint.
    """

    step: int
    best: str | None = None
    mean: float | None = None
    checkpoint: str | None = None

    def is_below(self, mean: float) -> bool:
        """Whether a model with this mean is better; the earlier of two equal ones is kept."""
        return self.mean is None or self.mean < mean


def write_note(folder: Path, note: Exported) -> None:
    """Writes it into the folder of the model."""
    given = {key: value for key, value in asdict(note).items() if value is not None}
    write_text(folder / NOTE, json.dumps(given, indent=2) + "\n")


def read_note(folder: Path) -> Exported | None:
    """That of a model; None where there is none, or none that can be read."""
    try:
        return Exported(**json.loads((folder / NOTE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
