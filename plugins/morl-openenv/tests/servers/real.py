"""A real server of `openenv`, run with the Python of an environment that has it.

python real.py PORT (game|tools) MAX_SESSIONS
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from fastmcp import FastMCP
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Action, Observation, State

sys.path.insert(0, str(Path(__file__).parent))
from game import Game


class Guess(Action):
    """Guesses the number."""

    guess: str
    loud: bool = False


class Answer(Observation):
    said: str
    guesses: int


class GameEnvironment(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None, episode_id: str | None = None, highest: int = 6, **_: Any) -> Answer:
        self.game = Game(seed, highest)
        return Answer(**self.game.opening())

    def step(self, action: Guess, **_: Any) -> Answer:
        if action.guess == "hang":
            time.sleep(600)
        if action.guess == "die":
            os._exit(1)
        observation, reward, done, metadata = self.game.guess(action.guess)
        return Answer(**observation, reward=reward, done=done, metadata=metadata)

    @property
    def state(self) -> State:
        return State()


class ToolEnvironment(MCPEnvironment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        server = FastMCP("tools")

        @server.tool
        def add(a: int, b: int) -> int:
            """Adds two numbers."""
            return a + b

        @server.tool
        def shout(text: str) -> str:
            """Says it loudly."""
            if not text:
                raise ValueError("nothing to shout")
            return text.upper()

        super().__init__(server)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Observation:
        return Observation(metadata={"status": "ready"})

    def _step_impl(self, action: Action, timeout_s: float | None = None, **_: Any) -> Observation:
        raise ValueError("only tools")

    @property
    def state(self) -> State:
        return State()


if __name__ == "__main__":
    port, kind, sessions = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if kind == "game":
        app = create_fastapi_app(GameEnvironment, Guess, Answer, max_concurrent_envs=sessions)
    else:
        app = create_fastapi_app(ToolEnvironment, CallToolAction, CallToolObservation, max_concurrent_envs=sessions)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
