"""The config of a run as its folder keeps it: what was passed as an object stands there as one."""

from __future__ import annotations

from typing import Any

from morl.config.load import to_mapping
from morl.config.record import describe, writable
from morl.config.schema import Config
from morl.config.sections import node_at
from morl.reward import RewardEntry
from morl.runtime.parts import Given
from morl.training.given import PassedRows, describe_rows


def record(config: Config, given: Given, passed: PassedRows) -> dict[str, Any]:
    """The resolved config in plain types; a section whose part was passed bears a description in place of a name.

    Reading such a file says what has to be passed again, see `morl.config.sections.part_of`.
    """
    tree: dict[str, Any] = writable(to_mapping(config))
    for path, rows in passed.rows.items():
        node_at(tree, path)["name"] = describe_rows(rows)
    for name, reward in (given.rewards or {}).items():
        if isinstance(reward, RewardEntry):
            settings = {key: getattr(reward, key) for key in ("weight", "timeout", "on_failure", "bounds")}
            tree["rewards"][name] = {"name": describe(reward.provider), **writable(settings)}
        elif name not in tree["rewards"]:
            tree["rewards"][name] = {"name": describe(reward)}
    return tree
