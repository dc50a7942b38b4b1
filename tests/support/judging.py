"""A judge over HTTP as tests need it: grades that follow from the text, and a server that goes away and comes back."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from attrs import define, field
from processes import free_port


class _Grades(BaseHTTPRequestHandler):
    """Grades the number of different letters."""

    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        grade = len(set(asked["messages"][-1]["content"])) % 11
        content = json.dumps({"choices": [{"message": {"content": f"Grade: {grade}"}}]}).encode()
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    asked = 0


@define(eq=False)
class JudgeServer:
    """A server on the loopback device that can be stopped and started again at the same address."""

    _server: _Server | None = None
    _port: int = field(factory=free_port)

    @property
    def url(self) -> str:
        """Of its API."""
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        """Answers from now on."""
        self._server = _Server(("127.0.0.1", self._port), _Grades)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Refuses connections from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def section(self, **options: object) -> dict[str, object]:
        """The entry of a config that asks this judge."""
        grade = {"regex": "Grade: ([0-9]+)", "low": 0, "high": 10}
        fixed = {"name": "judge", "url": self.url, "model": "m", "template": "{{ completion }}", "grade": grade}
        return {**fixed, "use_cache": False, **options}
