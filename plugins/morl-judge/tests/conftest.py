"""A server on the loopback that answers as a test wants it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from attrs import define, field

from morl_judge.judge import Judge

Handler = Callable[[dict[str, Any], web.Request], Awaitable[web.StreamResponse]]


@define
class Server:
    """Runs in a thread of its own.

    Attributes:
        handler: gets the body and the request.
        bodies: of all requests, in the order of their arrival.
        headers: likewise.
        under_way: requests that are being answered.
        most_under_way: the most at a time.
    """

    handler: Handler | None = None
    url: str = ""
    bodies: list[dict[str, Any]] = field(factory=list)
    headers: list[dict[str, str]] = field(factory=list)
    under_way: int = 0
    most_under_way: int = 0
    aborted: threading.Event = field(factory=threading.Event)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop)
    _runner: Any = None

    def asked(self, text: str) -> int:
        """Number of requests whose last message holds `text`."""
        return sum(text in body["messages"][-1]["content"] for body in self.bodies)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            assert self.handler is not None
            return await self.handler(body, request)
        except asyncio.CancelledError:
            self.aborted.set()
            raise
        finally:
            self.under_way -= 1

    def run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        started.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self._handle)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._runner = runner

    def stop(self) -> None:
        """Closes the port; what is under way is broken off."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(300)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    started = threading.Event()
    thread = threading.Thread(target=server.run, args=(started,), daemon=True)
    thread.start()
    assert started.wait(300)
    yield server
    server.stop()
    server.end()
    thread.join(300)


@pytest.fixture
def make(server: Server, tmp_path: Path) -> Callable[..., Judge]:
    """A judge at the server, with short waits, and grades by regular expression unless told otherwise."""

    def make(**options: Any) -> Judge:
        defaults: dict[str, Any] = {
            "url": server.url,
            "model": "m",
            "template": "Asked: {{ prompt }} Said: {{ completion }}",
            "first_wait": 0.01,
            "cache": None if options.get("use_cache") is False else str(tmp_path / "cache"),
        }
        if "criteria" not in options:
            defaults["grade"] = {"regex": "Grade: ([0-9]+)", "low": 0, "high": 10}
        return Judge(**{**defaults, **options})

    return make
