"""A stand-in for the Hugging Face hub: what an upload of small files asks for, on a port of this machine."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "standin" * 5


class Hub(ThreadingHTTPServer):
    """Keeps what is uploaded: `repositories` by name, whether private, and their `files`.

    With `fails` it refuses everything, with `stops` the process gets a SIGTERM in place of the answer to an upload.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}
        self.fails = False
        self.stops = False
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if self.path == "/api/whoami-v2" and self.headers.get("authorization") == f"Bearer {TOKEN}":
            self._answer({"name": "me", "type": "user"})
        else:
            self._answer({"error": "Invalid credentials"}, 401)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.fails:
            self._answer({"error": "the hub is out of order"}, 400)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.repositories[name] = asked.get("private") or asked.get("visibility") == "private"
            self._answer({"url": f"{self.server.url}/{name}"})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
            self._answer({"files": files})
        elif "/commit/" in self.path and self.server.stops:
            os.kill(os.getpid(), signal.SIGTERM)
            self.server.ended.wait()
        elif "/commit/" in self.path:
            for line in body.splitlines():
                operation = json.loads(line)
                if operation["key"] == "file":
                    self.server.files[operation["value"]["path"]] = base64.b64decode(operation["value"]["content"])
            self._answer({"commitUrl": f"{self.server.url}/me/model/commit/0", "commitOid": "0" * 40, "success": True})
        else:
            self._answer({"valid": True})

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def standing_in() -> Iterator[Hub]:
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            hub.ended.set()
            hub.shutdown()
