"""Names of metrics, and of other trainers' settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from morl.artifacts.metrics import FAMILIES
from morl.config.foreign.rows import Row
from morl.config.foreign.trl import OWN, share_offered


def metrics_table(family: str) -> Iterator[str]:
    """The metrics of a family, with their meanings."""
    yield from ("| metric | meaning |", "|---|---|")
    yield from (f"| `{metric.name}` | {metric.meaning} |" for metric in FAMILIES[family])


def foreign_names(whose: str, rows: Mapping[str, Row]) -> Iterator[str]:
    """What stands for each name of another trainer."""
    if rows is OWN:
        offered, total = share_offered()
        yield from (f"{offered} of the {total} have an equivalent ({offered / total:.0%}).", "")
    yield from (f"| {whose} | morl | |", "|---|---|---|")
    for name, row in rows.items():
        keys = ", ".join(f"`{key}`" for key in row.keys) or ("-" if row.offered else "not offered")
        yield f"| `{name}` | {keys} | {row.note} |"
