"""How many cells run at a time, and what each of them gets: cores, or GPUs of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from attrs import frozen

from morl.config.schema import TrainerConfig
from morl.errors import ConfigError


@frozen
class Slots:
    """The places in which cells run.

    Attributes:
        environments: one per place: the variables that confine the process to its cores or GPUs.
        threads: CPU threads of each process of a cell.
        forked: whether cells can be forked from a process that has imported everything.
        text: the same for people.
    """

    environments: tuple[Mapping[str, str], ...]
    threads: int
    forked: bool
    text: str

    def __len__(self) -> int:
        return len(self.environments)


def find_slots(trainers: Iterable[TrainerConfig], jobs: int | None, cores: int, gpus: tuple[str, ...]) -> Slots:
    """Places for cells with these trainers.

    A cell on the CPU takes as many cores as it has processes and threads.  A cell on GPUs has them for itself; only
    with `jobs` do cells of one GPU share them.

    Args:
        trainers: the sections `trainer` of all cells.
        jobs: cells at a time; None takes as many as there is room for.
        cores: that may be used.
        gpus: as `CUDA_VISIBLE_DEVICES` names them; empty if there are none.

    Raises:
        ConfigError: cells of several kinds, more GPUs than there are, several machines.
    """
    kinds = {_kind(trainer, gpus): trainer for trainer in trainers}
    if len(kinds) > 1:
        raise ConfigError("all runs must agree on trainer.accelerator and trainer.devices, so that each gets as much")
    ((accelerator, devices), trainer), *_ = kinds.items()
    if trainer.num_nodes > 1:
        raise ConfigError(f"morl compare runs on one machine; got trainer.num_nodes={trainer.num_nodes}")
    if accelerator == "gpu":
        return _on_gpus(devices, jobs, cores, gpus)
    if accelerator != "cpu":
        return Slots(
            ({},) * (jobs or 1), max(1, cores // (jobs or 1)), False, f"{jobs or 1} at a time on {accelerator}"
        )
    jobs = jobs or max(1, cores // (devices * (trainer.threads or 1)))
    threads = trainer.threads or max(1, cores // (jobs * devices))
    text = f"{_at_a_time(jobs)}, each with {_number(threads, 'thread')}"
    return Slots(({},) * jobs, threads, devices == 1, text + (f" in {devices} processes" if devices > 1 else ""))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_gpus() -> tuple[str, ...]:
    """CUDA devices that this process may use."""
    import torch

    if not torch.cuda.is_available():
        return ()
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(visible) or tuple(str(index) for index in range(torch.cuda.device_count()))


def _on_gpus(devices: int, jobs: int | None, cores: int, gpus: tuple[str, ...]) -> Slots:
    if devices > len(gpus):
        raise ConfigError(f"trainer.devices={devices}: there are only {_number(len(gpus), 'GPU')} here")
    fitting = len(gpus) // devices
    if jobs is not None and jobs > fitting and devices > 1:
        raise ConfigError(
            f"--jobs {jobs}: runs of {devices} GPUs do not share them, so {_number(len(gpus), 'GPU')} suffice for"
            f" {fitting}"
        )
    jobs = jobs or fitting
    taken = [[gpus[(job * devices + index) % len(gpus)] for index in range(devices)] for job in range(jobs)]
    shared = " (shared)" if jobs > fitting else ""
    return Slots(
        tuple({"CUDA_VISIBLE_DEVICES": ",".join(names)} for names in taken),
        max(1, cores // (jobs * devices)),
        False,
        f"{_at_a_time(jobs)}, each with {_number(devices, 'GPU')}{shared}",
    )


def _kind(trainer: TrainerConfig, gpus: tuple[str, ...]) -> tuple[str, int]:
    """What a cell runs on, and on how many of it."""
    accelerator = {"cuda": "gpu", "auto": "gpu" if gpus else "cpu"}.get(trainer.accelerator, trainer.accelerator)
    devices = trainer.devices
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if devices in ("auto", -1):
        return accelerator, max(1, len(gpus)) if accelerator == "gpu" else 1
    if not isinstance(devices, int) or devices < 1:
        raise ConfigError(
            f"trainer.devices={trainer.devices!r}: morl compare hands out the devices itself; say how many a run takes"
        )
    return accelerator, devices


def _at_a_time(jobs: int) -> str:
    return "one at a time" if jobs == 1 else f"{jobs} at a time"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
