"""Sandboxes of other distributions, by name."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from morl.errors import ConfigError, PluginError, RewardError
from morl_code.judge import FunctionTest, Judge, Limits, Program, StdioTest, Verdict
from morl_code.sandbox import probe, registry
from morl_code.sandbox.client import LocalSandbox
from morl_code.sandbox.interface import Outcome, SandboxRefused

FOUND = [level for level in probe.LEVELS if not probe.missing(level)]


class Leaky:
    """No sandbox at all."""

    def __init__(self, limits: Limits) -> None:
        del limits

    def run_script(self, source: str, stdin: str, wall: float, *, imports: bool = False) -> Outcome:
        ended = subprocess.run([sys.executable, "-c", source], input=stdin, capture_output=True, text=True, timeout=60)
        return Outcome(ended.returncode == 0, ended.stderr or None, output=ended.stdout)

    def run_tests(self, *arguments: Any, **options: Any) -> list[Outcome]:
        raise RewardError("this one runs scripts only")

    def close(self) -> None:
        pass


class Remote:
    """A service that answers over a socket, in front of a sandbox of this machine."""

    def __init__(self, limits: Limits) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._server = threading.Thread(target=self._serve, args=(theirs, limits))
        self._server.start()

    def _serve(self, link: Any, limits: Limits) -> None:
        sandbox = LocalSandbox(FOUND[0], limits)
        while (call := link.recv()) is not None:
            name, arguments, options = call
            link.send(getattr(sandbox, name)(*arguments, **options))
        sandbox.close()

    def _ask(self, *call: Any) -> Any:
        self._ours.send(call)
        return self._ours.recv()

    def run_script(self, *arguments: Any, **options: Any) -> Outcome:
        outcome: Outcome = self._ask("run_script", arguments, options)
        return outcome

    def run_tests(self, *arguments: Any, **options: Any) -> list[Outcome]:
        outcomes: list[Outcome] = self._ask("run_tests", arguments, options)
        return outcomes

    def close(self) -> None:
        self._ours.send(None)
        self._server.join()


def refused(limits: Limits) -> Any:
    raise SandboxRefused("no service at this address")


@pytest.fixture
def announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Announces sandboxes as an installed distribution does: name -> object of this module."""

    def announce(**sandboxes: str) -> None:
        folder = tmp_path / "others-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
        lines = "".join(f"{name.replace('_', '-')} = {path}\n" for name, path in sandboxes.items())
        (folder / "entry_points.txt").write_text(f"[{registry.ENTRY_POINT_GROUP}]\n{lines}")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(sys.modules, "sandboxes_of_others", sys.modules[__name__])
        probe._try.cache_clear()

    yield announce
    probe._try.cache_clear()


def test_a_sandbox_of_another_distribution_stands_in_by_name(announced: Callable[..., None]) -> None:
    announced(remote="sandboxes_of_others:Remote")
    with Judge(isolation="remote", workers=2) as judge:
        assert judge.isolation == "remote"
        verdicts = judge.run(
            [
                Program("def f(): return 1", [FunctionTest("assert f() == 1"), FunctionTest("assert f() == 2")]),
                Program("print(input())", [StdioTest("a", "a"), StdioTest("b", "c")]),
            ]
        )
    assert [isinstance(v, Verdict) and v.passed for v in verdicts] == [(True, False)] * 2


def test_a_sandbox_of_another_distribution_is_tried_like_any(announced: Callable[..., None]) -> None:
    announced(
        leaky="sandboxes_of_others:Leaky", far_away="sandboxes_of_others:refused", gone="sandboxes_of_others:gone"
    )
    with pytest.raises(ConfigError, match="leaky: a program could read files, list folders, write files"):
        Judge(isolation="leaky")
    with pytest.raises(ConfigError, match="far-away: no service at this address"):
        Judge(isolation="far-away")
    with pytest.raises(PluginError, match="sandbox 'gone' cannot be imported from 'sandboxes_of_others:gone'"):
        Judge(isolation="gone")
    with pytest.raises(
        ConfigError, match=r"unknown isolation 'leeky'; did you mean 'leaky'\?; available: auto, namespaces"
    ):
        Judge(isolation="leeky")


def test_no_sandbox_takes_the_name_of_another(announced: Callable[..., None]) -> None:
    announced(landlock="sandboxes_of_others:Leaky")
    with pytest.raises(
        PluginError, match=r"sandbox 'landlock' must be announced once .* found morl-code itself, sandboxes"
    ):
        Judge(isolation="landlock")
