"""What a study is to find out, said before it runs: the primary metric, the contrasts, the margin of equivalence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from morl.errors import ConfigError, suggest

PRIMARY = "primary"
"""Name of the primary metric, beside those of the rewards."""


@frozen
class Contrast:
    """Two lines and a metric: `second` minus `first`, of the final values."""

    first: str
    second: str
    metric: str

    def __str__(self) -> str:
        return f"{self.second} - {self.first}: {self.metric}"


@frozen
class Place:
    """A line of the grid: its name, its arm, and what was varied."""

    line: str
    arm: str
    settings: Mapping[str, Any] = field(factory=dict)


@frozen
class Plan:
    """What was said beforehand.

    Args:
        contrasts: declared; the verdicts of a study that declares some are about these alone.
        equivalence: differences within this margin are none, in units of the metric; None asks for no such verdict.
        primary: reward -> the two ends of its range; the primary metric is the mean of the rewards rescaled to [0, 1].
        late: those of the contrasts, as text, that were declared after runs had finished -> how many had.
    """

    contrasts: tuple[Contrast, ...] = ()
    equivalence: float | None = None
    primary: Mapping[str, tuple[float, float]] = field(factory=dict)
    late: Mapping[str, int] = field(factory=dict)


def read_contrasts(texts: Sequence[str], places: Sequence[Place], metrics: Sequence[str]) -> tuple[Contrast, ...]:
    """Contrasts from texts such as `gdpo - grpo: correctness`.

    An arm stands for all of its lines: of `gdpo - grpo` in a study that varies a setting there is one contrast for each
    of its values.

    Args:
        texts: as they were typed.
        places: the lines of the study.
        metrics: rewards, and the primary metric where there is one.

    Raises:
        ConfigError: another form, a name that is none, a contrast that is declared twice.
    """
    found = [contrast for text in texts for contrast in _read(text, places, metrics)]
    seen: set[tuple[frozenset[str], str]] = set()
    for contrast in found:
        key = (frozenset((contrast.first, contrast.second)), contrast.metric)
        if key in seen:
            raise ConfigError(f"--declare: {str(contrast)!r} is declared twice")
        seen.add(key)
    return tuple(found)


def _read(text: str, places: Sequence[Place], metrics: Sequence[str]) -> Iterator[Contrast]:
    lines, _, metric = (part.strip() for part in text.rpartition(":"))
    if " - " not in lines or not metric:
        raise ConfigError(f"--declare takes 'ARM - ARM: REWARD', such as 'gdpo - grpo: correctness'; got {text!r}")
    if metric not in metrics:
        raise ConfigError(
            f"--declare: {text!r}: no reward {metric!r}{suggest(metric, metrics)}; there are: {', '.join(metrics)}"
            + ("" if PRIMARY in metrics else "; --primary adds the metric 'primary'")
        )
    parts = lines.split(" - ")
    # A label may have " - " in it.
    for cut in range(1, len(parts)):
        names = [" - ".join(some).strip() for some in (parts[:cut], parts[cut:])]
        second, first = (_places(name, places) for name in names)
        if second and first:
            pairs = [
                Contrast(one.line, two.line, metric)
                for two, one in itertools.product(second, first)
                if one.line != two.line and (dict(one.settings) == dict(two.settings) or len(second) == len(first) == 1)
            ]
            if not pairs:
                raise ConfigError(f"--declare: {text!r}: no two different lines of the same settings have these names")
            yield from pairs
            return
    known = list(dict.fromkeys(name for place in places for name in (place.arm, place.line)))
    unknown = next((name.strip() for name in parts if not _places(name.strip(), places)), lines)
    raise ConfigError(
        f"--declare: {text!r}: no arm {unknown!r}{suggest(unknown, known)}; there are: {'; '.join(known)}"
    )


def _places(name: str, places: Sequence[Place]) -> list[Place]:
    return [place for place in places if place.line == name] or [place for place in places if place.arm == name]


def read_primary(text: str | None) -> dict[str, tuple[float, float]]:
    """Reward -> the two ends of its range, from `format:0:1,correctness:-3:3`.

    Raises:
        ConfigError: another form, an empty range, a reward that is given twice.

    >>> read_primary("format:0:1, correctness:-3:3")
    {'format': (0.0, 1.0), 'correctness': (-3.0, 3.0)}
    """
    ranges: dict[str, tuple[float, float]] = {}
    for part in text.split(",") if text is not None else ():
        name, *ends = (piece.strip() for piece in part.rsplit(":", 2))
        try:
            low, high = (float(end) for end in ends)
        except ValueError:
            low = high = math.nan
        if not (name and math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(
                "--primary takes REWARD:LOWEST:HIGHEST,... with the two ends of each reward's range, such as"
                f" 'format:0:1,correctness:-3:3'; got {text!r}"
            )
        if name in ranges:
            raise ConfigError(f"--primary: {name} is given twice")
        ranges[name] = (low, high)
    return ranges


def check_primary(ranges: Mapping[str, tuple[float, float]], rewards: Sequence[str]) -> None:
    """Refuses a primary metric of rewards that are not there.

    Raises:
        ConfigError: such a reward, or one whose name is the metric's.
    """
    for name in ranges:
        if name not in rewards:
            raise ConfigError(f"--primary: no reward {name!r}{suggest(name, rewards)}; rewards: {', '.join(rewards)}")
    if ranges and PRIMARY in rewards:
        raise ConfigError(f"--primary: a reward is named {PRIMARY!r}, as the metric would be; rename the reward")
