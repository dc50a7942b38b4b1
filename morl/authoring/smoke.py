"""Two seconds of every part: made, and held to as many laws as there is time for."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from importlib import import_module

from attrs import define, field

from morl.authoring.trials import Trial

SECONDS = 2.0
"""Of processor time, so that a busy machine tries as much as an idle one."""
PATIENCE = 60.0
EXAMPLES = 2
"""That Hypothesis draws for a law; the pytest plugin draws many more."""
NOT_HERE = {
    "prompt source": "loading may download",
    "policy source": "it makes or loads a model",
    "rollout backend": "it may start an engine",
}
"""Kinds that are made here, and tried by `pytest --morl-plugin` alone."""


@define
class Tried:
    """How far the trials of one part came.

    Attributes:
        kept: laws that hold.
        broken: law -> what went wrong.
        running: the law that is being tried, None when all were.
    """

    kept: list[str] = field(factory=list)
    broken: dict[str, str] = field(factory=dict)
    running: str | None = None


def tried(trials: Sequence[Trial], seconds: float = SECONDS) -> Tried:
    """The laws of one part, one after the other, until their processor time is over.

    A law that is begun is finished, for a broken one takes longer to be shown small; one that does not end within
    `PATIENCE` seconds keeps its thread, which ends with the process.
    """
    progress = Tried()

    def work() -> None:
        # Before the clock is read, so that nobody's seconds go into importing PyTorch and Hypothesis.
        import_module("morl.testing.estimators")
        ends = time.thread_time() + seconds
        for trial in trials:
            progress.running = trial.law
            if time.thread_time() >= ends:
                return
            try:
                trial.run(EXAMPLES)
            except Exception as error:  # noqa: BLE001 - whatever a stranger's part raises
                text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
                progress.broken[trial.law] = text
            else:
                progress.kept.append(trial.law)
        progress.running = None

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return progress
