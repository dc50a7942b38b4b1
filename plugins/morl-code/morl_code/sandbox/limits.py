"""What a program may use."""

from __future__ import annotations

from attrs import Attribute, field, frozen

from morl.errors import ConfigError


def _whole(limits: Limits, attribute: Attribute[int], value: int) -> None:
    if type(value) is not int or value < 1:
        raise ConfigError(f"limits: {attribute.name} must be a whole number of at least 1, got {value!r}")


def _seconds(limits: Limits, attribute: Attribute[float], value: float) -> None:
    if type(value) not in (int, float) or not 0 < value < float("inf"):
        raise ConfigError(f"limits: {attribute.name} must be a positive number of seconds, got {value!r}")


@frozen
class Limits:
    """What one program may use.

    Attributes:
        wall: seconds that one case may compute, or wait without computing.  Time in which other work has the processors
            counts for a twentieth (`timing.PATIENCE`), so that a busy machine does not fail right programs.
        total: seconds that all cases of a program may take together, counted in the same way; those left over fail.
        cpu: seconds of processor time of one process, as the kernel's last resort.  Function tests of a program share a
            process, one after the other, until one of them meets a limit.
        memory: MiB of address space of each process.
        output: MiB that a case may print, and the largest file that it may write.
        folder: MiB that fit into its temporary folder.
        threads: how many threads it may have.  It may have no other process.

    Raises:
        ConfigError: a limit that is not positive.
    """

    wall: float = field(default=5.0, validator=_seconds)
    total: float = field(default=15.0, validator=_seconds)
    cpu: int = field(default=20, validator=_whole)
    memory: int = field(default=1024, validator=_whole)
    output: int = field(default=8, validator=_whole)
    folder: int = field(default=32, validator=_whole)
    threads: int = field(default=32, validator=_whole)

    def __attrs_post_init__(self) -> None:
        if self.total < self.wall:
            raise ConfigError(f"limits: total ({self.total} s) is below wall ({self.wall} s), the limit of one case")
