"""One session on a server: a WebSocket connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from attrs import define
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from morl_openenv.addresses import Address
from morl_openenv.failures import Kind, OpenEnvError, OpenEnvTimeout, RejectedAction

CLOSING = 2.0
"""Seconds that a server has to end a session; then the connection is cut."""

LONGEST = 2**24
"""Bytes of the longest answer that is read."""

_MORE_PLACES = "; let it take more sessions (max_concurrent_envs), or name more servers in `urls`"
_KINDS = {"CAPACITY_REACHED": Kind.CAPACITY}
_KINDS |= dict.fromkeys(("EXECUTION_ERROR", "FACTORY_ERROR", "SESSION_ERROR"), Kind.EXECUTION)


@define(eq=False)
class Session:
    """Asks and is answered in turn.

    After a failure it is closed: a late answer to the question that failed would be taken for the answer to the next.

    Attributes:
        address: of the server.
        connect_timeout: seconds.
        message_timeout: seconds for one answer.
    """

    address: Address
    connect_timeout: float
    message_timeout: float
    _socket: ClientConnection | None = None
    _why_closed: str = "it was never opened"

    async def open(self) -> None:
        """Connects.

        Raises:
            OpenEnvError: no server, or no WebSocket there.
        """
        where = self.address.socket
        # No pings: a server that hangs is met with the time limit, and one that computes has a right to be slow.
        options: dict[str, Any] = {"open_timeout": None, "close_timeout": CLOSING, "ping_interval": None}
        options |= {"max_size": LONGEST} | ({"proxy": None} if self.address.local else {})
        try:
            async with asyncio.timeout(self.connect_timeout):
                self._socket = await connect(where, **options)
        except TimeoutError:
            raise OpenEnvTimeout(f"no connection to {where} within {self.connect_timeout:g} s") from None
        except (OSError, WebSocketException) as error:
            raise OpenEnvError(Kind.CONNECTION, f"{where}: {type(error).__name__}: {error}") from error

    async def ask(self, message: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Sends a message of this type and gives the answer's data: `observation`, `reward`, `done`, maybe `metadata`.

        Raises:
            RejectedAction: the data does not fit the environment's schema; the session goes on.
            OpenEnvError: anything else; the session is closed.
        """
        socket = self._socket
        if socket is None:
            raise OpenEnvError(Kind.CONNECTION, f"this session is closed: {self._why_closed}")
        try:
            async with asyncio.timeout(self.message_timeout):
                # A server that refuses the session says why and closes: what it said can be read even so.
                with suppress(ConnectionClosed):
                    await socket.send(json.dumps({"type": message, "data": data}))
                raw = await socket.recv()
            return _data(raw)
        except RejectedAction:
            raise
        except TimeoutError:
            self.drop(f"a {message} took too long")
            raise OpenEnvTimeout(f"no answer to a {message} within {self.message_timeout:g} s") from None
        except (ConnectionClosed, OSError) as error:
            self.drop("the connection broke off")
            said = f"broken off at a {message}: {type(error).__name__}: {error}"
            raise OpenEnvError(Kind.CONNECTION, said) from error
        except BaseException as error:
            self.drop(f"a {message} ended with {type(error).__name__}: {error}")
            raise

    async def close(self) -> None:
        """Ends the session; waits until the server has freed its place."""
        socket, self._socket, self._why_closed = self._socket, None, "close() was called"
        if socket is None:
            return
        with suppress(ConnectionClosed, TimeoutError, OSError):
            async with asyncio.timeout(CLOSING):
                await socket.send(json.dumps({"type": "close"}))
                await socket.wait_closed()
        socket.transport.abort()

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def drop(self, why: str) -> None:
        """Cuts the connection; `why` is what a later question is told."""
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket, self._why_closed = None, why


def _data(raw: str | bytes) -> Mapping[str, Any]:
    """The data of an observation."""
    try:
        answer = json.loads(raw)
        kind, data = answer["type"], answer["data"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        said = f"no message of the protocol ({type(error).__name__}): {raw[:200]!r}"
        raise OpenEnvError(Kind.ANSWER, said) from error
    if kind == "error" and isinstance(data, dict):
        code, said = data.get("code"), str(data.get("message"))[:1000]
        if code == "VALIDATION_ERROR":
            raise RejectedAction(_complaints(data) or said)
        kind_of_failure = _KINDS.get(str(code), Kind.REFUSED)
        hint = _MORE_PLACES if kind_of_failure == Kind.CAPACITY else ""
        raise OpenEnvError(kind_of_failure, f"the server answers {code}: {said}{hint}")
    legal = kind == "observation" and isinstance(data, dict) and isinstance(data.get("observation"), dict)
    if not legal or not isinstance(data.get("done"), bool):
        raise OpenEnvError(Kind.ANSWER, f"no observation, or one without `done`: {raw[:200]!r}")
    return dict(data)


def _complaints(data: Mapping[str, Any]) -> str:
    """Which fields were refused and why, without the data itself."""
    found = []
    for each in data.get("errors") or ():
        if isinstance(each, dict):
            place = ".".join(str(part) for part in each.get("loc") or ())
            found.append(f"{place}: {each.get('msg')}" if place else str(each.get("msg")))
    return "; ".join(found)
