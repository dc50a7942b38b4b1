"""Authentication of a rollout server, without a server behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from morl_vllm.server.auth import AuthMiddleware, unless_gone
from morl_vllm.server.handler import Refusal, shapes_in
from morl_vllm.server.key import VARIABLE

KEY = "secret"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The application that the middleware guards."""
    await send({"type": "passed", "path": scope.get("path")})


def send_request(
    middleware: AuthMiddleware, kind: str = "http", path: str = "/collective_rpc", method: str = "POST", *keys: str
) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", key.encode()) for key in keys]
    scope = {"type": kind, "path": path, "method": method, "headers": headers, "query_string": b""}
    asyncio.run(middleware(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    "keys", [(), ("secret",), ("Bearer secre",), ("Bearer secrett",), ("Bearer",), 2 * ("Bearer secret",)]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS", "HEAD"])
def test_no_route_answers_without_the_key(monkeypatch: pytest.MonkeyPatch, keys: Any, method: str) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    middleware = AuthMiddleware(app)
    for path in ("/collective_rpc", "/health", "/v1/completions", "/morl/weights", "/", "//collective_rpc"):
        start, _ = send_request(middleware, "http", path, method, *keys)
        assert start["status"] == 401
    (closed,) = send_request(middleware, "websocket", "/v1/realtime", method, *keys)
    assert closed["type"] == "websocket.close"


def test_with_the_key_everything_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    middleware = AuthMiddleware(app)
    for kind in ("http", "websocket"):
        assert send_request(middleware, kind, "/v1/models", "GET", f"Bearer {KEY}") == [
            {"type": "passed", "path": "/v1/models"}
        ]
    assert send_request(middleware, "lifespan", "", "") == [{"type": "passed", "path": ""}]


def test_a_door_without_a_key_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(RuntimeError, match=f"needs a key that its callers have to know: set {VARIABLE}"):
        AuthMiddleware(app)


def test_work_for_a_caller_who_leaves_is_cancelled() -> None:
    async def serve(leaves: bool) -> tuple[list[str], Any]:
        seen, gone = [], asyncio.Event()

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def work() -> dict[str, Any]:
            try:
                if leaves:
                    gone.set()
                    await asyncio.Event().wait()
                return {"version": 1}
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        try:
            return seen, await unless_gone(work(), receive)
        except Refusal as refusal:
            return seen, refusal.status

    assert asyncio.run(serve(leaves=False)) == ([], {"version": 1})
    assert asyncio.run(serve(leaves=True)) == (["cancelled"], 499)


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 8 + b"{}", b"\x02" + 7 * b"\0" + b"[]"])
def test_a_body_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "body"
    path.write_bytes(content)
    with pytest.raises(Refusal, match="the body is not a file of safetensors"):
        shapes_in(path)


def test_commands_that_name_the_middleware_by_its_former_name_still_work() -> None:
    from morl_vllm.server.door import Door

    assert Door is AuthMiddleware
