"""Authentication of a rollout server: without the key no route answers.

    vllm serve MODEL --middleware morl_vllm.server.auth.AuthMiddleware \\
        --worker-extension-cls morl_vllm.worker.PolicyWorker

vLLM's own `--api-key` guards some routes only.  This middleware guards morl's three routes and all of vLLM's:

    GET  /morl/status      whose weights are loaded
    PUT  /morl/weights     a file of safetensors; query: run, version
    POST /morl/generate    JSON, see `GenerateRequest`
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from morl_vllm.server.handler import Refusal, RequestHandler
from morl_vllm.server.key import VARIABLE, is_authorised, rollout_key
from morl_vllm.server.request import GenerateRequest
from morl_vllm.server.scratch import scratch_folder

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)


class AuthMiddleware:
    """ASGI middleware, outermost in vLLM's application.

    Raises:
        RuntimeError: no key is set, which would leave the server open to everybody.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        key = rollout_key()
        if key is None:
            raise RuntimeError(f"a rollout server needs a key that its callers have to know: set {VARIABLE}")
        self._app, self._key = app, key
        self._handler: RequestHandler | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif not is_authorised(scope["headers"], self._key):
            await _turn_away(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith("/morl/"):
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._handler is None:
                engine = scope["app"].state.engine_client
                check_alone(engine.vllm_config.parallel_config)
                self._handler = RequestHandler(engine)
            await _answer(send, 200, await self._result(self._handler, scope, receive))
        except Refusal as refusal:
            await _answer(send, refusal.status, {"error": str(refusal)})
        except Exception as error:  # noqa: BLE001 - the server stays up; the caller and the log get the error
            _log.exception("a rollout request failed")
            await _answer(send, 500, {"error": f"{type(error).__name__}: {error}"})

    async def _result(self, handler: RequestHandler, scope: Scope, receive: Receive) -> dict[str, Any]:
        match scope["method"], scope["path"]:
            case "GET", "/morl/status":
                return handler.status()
            case "PUT", "/morl/weights":
                query = parse_qs(scope["query_string"].decode())
                # Beside the engine's processes, which read it from there.
                with scratch_folder("morl-weights-") as folder:
                    path = folder / "model.safetensors"
                    with path.open("wb") as file:
                        await _receive_body(receive, file.write)
                    try:
                        run, version = query["run"][0], int(query["version"][0])
                    except (KeyError, ValueError) as error:
                        raise Refusal(400, "PUT /morl/weights needs run=NAME and version=NUMBER") from error
                    return await handler.load(path, run, version)
            case "POST", "/morl/generate":
                body = bytearray()
                await _receive_body(receive, body.extend)
                try:
                    request = GenerateRequest.from_json(body)
                except ValueError as error:
                    raise Refusal(400, f"POST /morl/generate: {error}") from error
                return await unless_gone(handler.generate(request), receive)
        raise Refusal(404, f"no {scope['method']} {scope['path']} here")


def check_alone(parallel_config: Any) -> None:
    """Whether this is one server with one engine; of several, each would know its own work only.

    Args:
        parallel_config: of the engine, `vllm.config.ParallelConfig`.

    Raises:
        Refusal: 409, it is not.
    """
    if parallel_config._api_process_count > 1 or parallel_config.data_parallel_size > 1:
        raise Refusal(
            409,
            "several servers in one, which cannot take weights together: start each by itself, without"
            " --api-server-count and --data-parallel-size",
        )


async def _receive_body(receive: Receive, write: Callable[[bytes], object]) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the caller left before the body was complete")
        write(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def unless_gone(work: Coroutine[Any, Any, dict[str, Any]], receive: Receive) -> dict[str, Any]:
    """What the work gives; it is cancelled when its caller leaves, for the engine would draw for nobody.

    Args:
        work: of a request whose body has been received.
        receive: that of the request.

    Raises:
        Refusal: 499, the caller left.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refusal(499, "the caller left before the answer was there")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(1)  # nothing else is expected


async def _turn_away(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": "unauthorized"})
    else:
        await _answer(send, 401, {"error": f"unauthorized: send the value of {VARIABLE} as a bearer token"})


async def _answer(send: Send, status: int, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
