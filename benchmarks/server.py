"""A rollout server for the benchmarks: `morl serve-rollouts` in processes of its own, which end with this one."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

from attrs import define, field

from morl.errors import RolloutError

KEY = "MORL_ROLLOUT_KEY"
GRACE = 30.0
"""Seconds that a server has to end."""
SERVE = """
import os, signal, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os.killpg(0, signal.SIGKILL)), daemon=True).start()
from morl.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""All that the server starts is killed when its standard input ends, as it does when this process is killed."""


@define(eq=False)
class RolloutServer:
    """A server for the model in a folder, started by `start` or by entering it as a context, and ended on leaving that.

    Sets the key in this process's environment, where the backend `vllm-server` looks for it.  Needs psutil.
    """

    model: Path
    engine: dict[str, Any]
    url: str = field(init=False, default="")
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def start(self) -> None:
        """Returns when it answers.

        Raises:
            RolloutError: it ended instead; with what it printed last.
        """
        os.environ.setdefault(KEY, secrets.token_urlsafe(32))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        config, log = self.model.with_name("server.yaml"), self.model.with_name("server.log")
        run = {
            "policy": {"path": str(self.model)},
            "prompts": {"path": "none.jsonl"},  # a config has to name some; a server never reads them
            "rewards": {"brief": {"name": "length", "limit": 1}},
        }
        config.write_text(json.dumps(run))
        options = [f"--{name}={value}" for name, value in {**self.engine, "port": port}.items()]
        with log.open("wb") as written:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVE, "serve-rollouts", str(config), *options],
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        while not self._answers():
            if self._process.poll() is not None:
                raise RolloutError(f"the rollout server ended:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)

    def cpu_seconds(self) -> float:
        """Of all its processes so far; the kernel counts them in hundredths."""
        if self._process is None:
            return 0.0
        import psutil

        leader = psutil.Process(self._process.pid)
        times = [process.cpu_times() for process in (leader, *leader.children(recursive=True))]
        return float(sum(t.user + t.system + t.children_user + t.children_system for t in times))

    def _answers(self) -> bool:
        request = Request(f"{self.url}/morl/status", headers={"Authorization": f"Bearer {os.environ[KEY]}"})
        try:
            with urlopen(request, timeout=60):
                return True
        except URLError:
            return False
