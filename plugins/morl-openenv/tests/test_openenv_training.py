"""A run on a server: its rewards are columns, its sessions are closed, and a server that dies costs conversations."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import morl
from morl.types import Prompt
from morl_playground.policy import PlaygroundPolicy

PROMPTS = [Prompt([{"role": "user", "content": f"figs and {item}"}], {"highest": 3}) for item in ("pears", "eggs")]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that holds chats, and knows nothing of the game."""
    folder = str(tmp_path_factory.mktemp("cache"))
    return PlaygroundPolicy(task="shop", warmup_steps=2, warmup_batch_size=4, hidden_size=16, cache=folder).resolve()


def config(policy: str, folder: Path, **environment: Any) -> dict[str, Any]:
    return {
        "output": str(folder / "run"),
        "policy": {"path": policy},
        "environment": {"name": "openenv", "max_turns": 2, **environment},
        "sampling": {"max_tokens": 64},
        "training": {"steps": 2, "prompts_per_step": 2, "group_size": 3},
        "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
    }


def column(result: Any, name: str) -> list[float]:
    """A metric of every step."""
    with (result.folder / "logs" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_a_run(policy: str, local: Any, tmp_path: Path) -> None:
    server = local()
    rewards = {"found": "reward", "guesses": "observation.guesses"}
    result = morl.train(
        config(policy, tmp_path, urls=[server.url], rewards=rewards, running=["guesses"], reset_columns=["highest"]),
        prompts=PROMPTS,
    )
    turns, guesses = column(result, "conversation/turns"), column(result, "reward/guesses/mean")
    assert guesses == turns, "every reply was a guess"
    assert max(turns) > 1.0
    assert server.kinds().count("reset") == server.kinds().count("close") == 12
    assert not server.sessions


def test_a_server_that_hangs_costs_its_conversations(policy: str, local: Any, tmp_path: Path) -> None:
    async def forever(connection: Any) -> None:
        await connection.wait_closed()

    server = local(scripted={"step": forever})
    limits = {"message_timeout": 0.05, "max_failed_steps": None, "on_failure": "zero"}
    result = morl.train(config(policy, tmp_path, urls=[server.url], **limits), prompts=PROMPTS)
    assert column(result, "conversation/status/environment_timeout") == [1.0, 1.0]
    assert server.kinds().count("step") == 12, "none is stepped again"
    assert not server.sessions
