"""Without verifiers, or with another version, one line says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from morl.config.load import parse
from morl.errors import ConfigError
from morl.plugins import Registry
from morl_verifiers.environment import VerifiersTools
from morl_verifiers.installed import installed_version, require_verifiers
from morl_verifiers.prompts import VerifiersPrompts
from morl_verifiers.rewards import VerifiersRewards


def test_it_is_not_installed() -> None:
    with pytest.raises(ConfigError) as refused:
        require_verifiers(None)
    assert str(refused.value) == (
        "verifiers is not installed: pip install 'morl-verifiers[verifiers]', in an environment of its own"
    )


@pytest.mark.parametrize("version", ["0.3.9", "0.5.0", "1.0"])
def test_another_version(version: str) -> None:
    with pytest.raises(ConfigError, match=rf"verifiers {version} is installed, tested: verifiers>=0.4,<0.5"):
        require_verifiers(version)


@pytest.mark.parametrize("version", ["0.4.0", "0.4.7", "0.4.1.dev1"])
def test_a_version_that_was_tested(version: str) -> None:
    require_verifiers(version)


@pytest.mark.parametrize("part", [VerifiersPrompts, VerifiersRewards, VerifiersTools])
def test_every_part_asks_before_it_imports(part: Any, sums: Any) -> None:
    if installed_version() is None:
        with pytest.raises(ConfigError, match="verifiers is not installed"):
            part(sums("Sums"))
    else:
        part(sums("Sums"))


@pytest.mark.parametrize("kind", ["prompt source", "reward provider", "environment"])
def test_the_parts_are_found_by_name(kind: str) -> None:
    assert Registry().find(kind, "verifiers").plugin.label.startswith("morl-verifiers")


def test_a_config_can_hold_all_their_options() -> None:
    taskset: dict[str, Any] = {"name": "verifiers", "taskset": "sums-v1", "config": {"rows": 3}}
    tree = {
        "policy": {"path": "model"},
        "prompts": {**taskset, "size": 3, "skip": 1, "shuffle_seed": 0},
        "environment": taskset,
        "rewards": {"sums": {**taskset, "score_names": {"style": ["calm"]}, "leave_out": ["slow"]}},
    }
    config = parse(tree, Registry())
    assert config.environment is not None
    for section in (config.prompts, config.environment, config.rewards["sums"]):
        given = {**section.options, "name": section.name}
        assert {name: given.get(name) for name in taskset} == taskset
    assert config.prompts.options["shuffle_seed"] == 0
    assert config.rewards["sums"].options["score_names"] == {"style": ["calm"]}
