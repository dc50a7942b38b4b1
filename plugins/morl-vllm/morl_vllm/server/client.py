"""A rollout server as the trainer sees it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from attrs import define, field

from morl.errors import ConfigError, RolloutError
from morl_vllm.sampling import Drawn
from morl_vllm.server.key import VARIABLE
from morl_vllm.server.request import GenerateRequest

CONNECT_SECONDS = 5.0
"""How long a server may take to accept a connection, and to say how it is; one that is busy still does."""


class ServerLost(RolloutError):
    """A server that does not answer, or failed; others may do its work."""


class HungUp(RolloutError):
    """A call that nobody wants to be answered any more."""


@define(eq=False)
class Line:
    """Calls that can be ended from another thread; a server then stops to draw for them."""

    _hung_up: bool = field(init=False, default=False)
    _open: set[http.client.HTTPConnection] = field(init=False, factory=set)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def hang_up(self) -> None:
        """Ends the calls that are on their way, and those to come."""
        with self._lock:
            self._hung_up = True
            for connection in self._open:
                with suppress(OSError):
                    # Not that of an encrypted connection, which another thread is reading from.
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    @contextmanager
    def holding(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """A connection as long as it waits for an answer.

        Raises:
            HungUp: somebody has.
        """
        with self._lock:
            if self._hung_up:
                raise HungUp("nobody waits for an answer any more")
            self._open.add(connection)
        try:
            yield
        except Exception as error:
            if self._hung_up:
                raise HungUp("nobody waits for an answer any more") from error
            raise
        finally:
            with self._lock:
                self._open.discard(connection)


@define(eq=False)
class Server:
    """One server.

    Args:
        url: `http://host:port` or `https://..`.
        key: the shared secret.
        timeout: seconds that an answer may take.

    Raises:
        ConfigError: a URL of another form.
    """

    url: str
    key: str = field(repr=False)
    timeout: float
    _host: str = field(init=False)
    _port: int | None = field(init=False)
    _path: str = field(init=False)
    _secure: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query:
            raise ConfigError(f"not the URL of a server: {self.url!r}; expected http://host:port")
        self._host, self._port, self._path = parts.hostname, port, parts.path.rstrip("/")
        self._secure = parts.scheme == "https"

    def status(self) -> dict[str, Any]:
        """Whose weights it has: `run`, `version`, `max_model_len`.

        Raises:
            ConfigError: it does not take the key, or was not started as a rollout server has to be.
            ServerLost: it does not answer.
        """
        status = self._ask("GET", "/morl/status", timeout=min(CONNECT_SECONDS, self.timeout))
        if status["lacks"]:
            raise ConfigError(f"{self.url} was started without {' '.join(status['lacks'])}{_START}")
        return status

    def load(self, checkpoint: Path, run: str, version: int) -> None:
        """Sends it the weights in a file of safetensors.

        Raises:
            RolloutError: it runs another model.
            ServerLost: it does not answer, or its engine failed.
        """
        with checkpoint.open("rb") as body:
            self._ask(
                "PUT", f"/morl/weights?{urlencode({'run': run, 'version': version})}", body, checkpoint.stat().st_size
            )

    def generate(self, request: GenerateRequest, line: Line | None = None) -> tuple[list[list[Drawn]], int]:
        """Completions of each prompt, and the version of the weights that drew them: one that the request allows.

        Args:
            request: what is to be drawn.
            line: by which it can be called off.

        Raises:
            HungUp: it was.
            ServerLost: it does not answer, its engine failed, or it has other weights.
        """
        body = request.to_json()
        try:
            answer = self._ask("POST", "/morl/generate", body, len(body), line=line)
        except Refused as refused:
            raise ServerLost(str(refused)) from refused
        return [[Drawn(*member) for member in group] for group in answer["groups"]], answer["version"]

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        length: int = 0,
        timeout: float | None = None,
        line: Line | None = None,
    ) -> dict[str, Any]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Length": str(length)}
        try:
            connection.connect()
            connection.sock.settimeout(timeout or self.timeout)
            with (line or Line()).holding(connection):
                connection.request(method, self._path + path, body, headers)
                response = connection.getresponse()
                status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerLost(f"rollout server {self.url} does not answer: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if status == 200:
            answer: dict[str, Any] = json.loads(text)
            return answer
        raise _fault(self.url, status, text)


class Refused(RolloutError):
    """A server that is right to refuse: what it was asked does not fit what it has."""


_START = (
    ": start it with `morl serve-rollouts CONFIG`, or `vllm serve` with"
    " --middleware morl_vllm.server.auth.AuthMiddleware"
    " --worker-extension-cls morl_vllm.worker.PolicyWorker --logprobs-mode raw_logprobs"
)


def _fault(url: str, status: int, text: bytes) -> RolloutError | ConfigError:
    try:
        reason = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        reason = text[:200].decode(errors="replace")
    if status == 401:
        return ConfigError(f"rollout server {url} refuses the key in {VARIABLE}: set the one it was started with")
    if status in (404, 405):
        return ConfigError(f"{url} takes no weights from morl ({status}){_START}")
    if status in (400, 409):
        return Refused(f"rollout server {url}: {reason}")
    return ServerLost(f"rollout server {url} failed ({status}): {reason}")
