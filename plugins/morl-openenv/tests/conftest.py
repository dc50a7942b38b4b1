"""Servers: a small one in this process that speaks OpenEnv's protocol, and openenv's own where there is one."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from processes import free_port
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

SERVERS = Path(__file__).parent / "servers"
PYTHON = os.environ.get("MORL_OPENENV_PYTHON", "")
"""The interpreter of an environment with `openenv`; `make test-openenv` sets it."""

_OBSERVED = {"done": {"type": "boolean"}, "reward": {"type": "number"}, "metadata": {"type": "object"}}
SCHEMA: dict[str, Any] = {
    "action": {
        "additionalProperties": False,
        "description": "Guesses the number.",
        "properties": {
            "metadata": {"type": "object"},
            "guess": {"type": "string"},
            "loud": {"type": "boolean", "default": False},
        },
        "required": ["guess"],
        "type": "object",
    },
    "observation": {
        "additionalProperties": False,
        "properties": {**_OBSERVED, "said": {"type": "string"}, "guesses": {"type": "integer"}},
        "type": "object",
    },
}


def load_game() -> Any:
    spec = importlib.util.spec_from_file_location("openenv_game", SERVERS / "game.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Game


def error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "data": {"message": message, "code": code, **more}}


def observation(shown: dict[str, Any], reward: float | None, done: bool, metadata: dict[str, Any]) -> dict[str, Any]:
    data = {"observation": {"metadata": metadata, **shown}, "reward": reward, "done": done}
    return {"type": "observation", "data": data | ({"metadata": metadata} if metadata else {})}


@define(eq=False)
class LocalServer:
    """Runs in a thread of its own.

    Attributes:
        schema: that `GET /schema` gives.
        most: sessions that it takes.
        scripted: answers to a step in place of the game: a text or bytes to send, or a function of the connection.
        sessions: that are open.
        asked: every message of every session.
    """

    schema: Any = field(factory=lambda: json.dumps(SCHEMA))
    most: int = 8
    scripted: dict[str, Any] = field(factory=dict)
    sessions: set[ServerConnection] = field(factory=set)
    asked: list[dict[str, Any]] = field(factory=list)
    url: str = ""
    ended: threading.Event = field(factory=threading.Event)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop)
    _server: Server | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._call(self._begin())

    def stop(self) -> None:
        """Cuts every connection, as the end of a process does."""
        if self._thread is not None:
            self._call(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._thread = None

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.asked]

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _begin(self) -> None:
        self._server = await serve(self._talk, "127.0.0.1", 0, process_request=self._request)
        self.url = f"http://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close(close_connections=False)
        for session in list(self.sessions):
            session.transport.abort()
        await self._server.wait_closed()

    def _request(self, connection: ServerConnection, request: Any) -> Any:
        if request.path == "/schema":
            return connection.respond(HTTPStatus.OK, self.schema)
        return None if request.path == "/ws" else connection.respond(HTTPStatus.NOT_FOUND, "no")

    async def _talk(self, connection: ServerConnection) -> None:
        if len(self.sessions) >= self.most:
            await connection.send(json.dumps(error("CAPACITY_REACHED", f"{self.most}/{self.most} sessions active")))
            return
        self.sessions.add(connection)
        try:
            await self._play(connection)
        except ConnectionClosed:
            pass
        finally:
            self.sessions.discard(connection)
            self.ended.set()

    async def _play(self, connection: ServerConnection) -> None:
        make_game, game = load_game(), None
        while True:
            message = json.loads(await connection.recv())
            self.asked.append(message)
            kind, data = message["type"], message.get("data")
            if kind == "close":
                return
            if kind in self.scripted:
                answer = self.scripted[kind]
                answer = await answer(connection) if callable(answer) else answer
                if answer is None:
                    return
                await connection.send(answer)
                continue
            try:
                if kind == "reset":
                    game = make_game(data.get("seed"), data.get("highest", 6))
                    answer = observation(game.opening(), None, False, {})
                elif complaint := _complaint(data):
                    answer = error("VALIDATION_ERROR", "Invalid message", errors=[complaint])
                else:
                    answer = observation(*game.guess(data["guess"]))
            except (RuntimeError, AttributeError) as raised:
                answer = error("EXECUTION_ERROR", str(raised))
            await connection.send(json.dumps(answer))


def _complaint(action: dict[str, Any]) -> dict[str, Any] | None:
    """As pydantic complains."""
    if not isinstance(action.get("guess"), str):
        return {"loc": ["guess"], "msg": "Input should be a valid string", "type": "string_type"}
    extra = sorted(set(action) - set(SCHEMA["action"]["properties"]))
    return {"loc": [extra[0]], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"} if extra else None


@pytest.fixture
def local() -> Iterator[Callable[..., LocalServer]]:
    """`local(most=.., scripted=..)`: a server in this process."""
    started: list[LocalServer] = []

    def start(**options: Any) -> LocalServer:
        server = LocalServer(**options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@define(eq=False)
class RealServer:
    """A process with openenv's server."""

    process: subprocess.Popen[bytes]
    url: str

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def start_real(kind: str, sessions: int) -> RealServer:
    """A server that answers."""
    port = free_port()
    command = [PYTHON, str(SERVERS / "real.py"), str(port), kind, str(sessions)]
    server = RealServer(subprocess.Popen(command, start_new_session=True), f"http://127.0.0.1:{port}")
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.url}/health", timeout=60):
            return server
        assert server.process.poll() is None, "the server did not start"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def real() -> Iterator[Callable[..., RealServer]]:
    """`real("game", 3)`: a server of openenv in a process of its own."""
    if not PYTHON:
        pytest.skip("openenv has an environment of its own: make test-openenv")
    started: list[RealServer] = []

    def start(kind: str, sessions: int) -> RealServer:
        started.append(start_real(kind, sessions))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def real_game(real: Callable[..., RealServer]) -> RealServer:
    """The game, with three sessions."""
    return real("game", 3)


@pytest.fixture(params=["local", "real"])
def game_url(request: pytest.FixtureRequest) -> str:
    """A server with the game and three sessions: ours, and openenv's."""
    if request.param == "real":
        return str(request.getfixturevalue("real_game").url)
    return str(request.getfixturevalue("local")(most=3).url)


def _say(content: str, *calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    called = [
        {"type": "function", "id": f"call{number}", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": content} | ({"tool_calls": called} if called else {})


@pytest.fixture(scope="session")
def say() -> Callable[..., dict[str, Any]]:
    """`say("text")` or `say("", ("tool", {"argument": 1}), ..)`: a reply of the policy."""
    return _say
