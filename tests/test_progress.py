"""What a command says while it works: at once, now and then, and only on stderr."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading

import pytest

from morl import progress


class Lines(io.StringIO):
    """Stderr, which says when so many lines are there."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.full, self._count = threading.Event(), count

    def flush(self) -> None:
        if self.getvalue().count("\n") >= self._count:
            self.full.set()


def texts(written: str) -> list[str]:
    """Without the times."""
    return [re.sub(r"\d+:\d\d(:\d\d)?", "T", line) for line in written.splitlines()]


def test_work_that_hangs_goes_on_being_told(monkeypatch):
    lines = Lines(3)
    monkeypatch.setattr(sys, "stderr", lines)
    with progress.working("sampling", 20, every=0.01) as advance:
        advance(1)
        progress.note("at token 7")
        assert lines.full.wait(60), "nothing is said while the work goes on"
    found = texts(lines.getvalue())
    assert found[0] == "T  sampling"
    assert "T    1 of 20 prompts after T, at token 7" in found
    assert found[-1] == "T    done: 1 prompts in T"


def test_work_that_is_quick_has_two_lines_and_an_error_one(capsys):
    with progress.working("sampling", 2) as advance:
        advance(2)
    assert texts(capsys.readouterr().err) == ["T  sampling", "T    done: 2 prompts in T"]
    with pytest.raises(ValueError, match="x"), progress.working("sampling", 2):
        raise ValueError("x")
    assert texts(capsys.readouterr().err) == ["T  sampling"]


@pytest.mark.parametrize("rank", ["RANK", "LOCAL_RANK", "NODE_RANK"])
def test_only_the_first_rank_speaks(capsys, monkeypatch, rank):
    monkeypatch.setenv(rank, "1")
    progress.say("hello")
    with progress.working("sampling", 2) as advance:
        advance(1)
    assert capsys.readouterr().err == ""


def test_what_is_not_wanted_is_not_said(capsys):
    progress.say("hello", wanted=False)
    with progress.working("sampling", 2, wanted=False) as advance:
        advance(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["train", "evaluate", "diagnose", "compare", "export", "report", "estimators"])
def test_a_command_says_that_it_has_begun_before_anything_heavy_is_imported(command):
    """The line comes from a process in which importing PyTorch, or the command itself, ends it."""
    code = (
        "import sys\n"
        "class Heavy:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name in ('torch', 'lightning', 'rich', 'jsonargparse') or name.endswith('.command'): sys.exit(7)\n"
        "sys.meta_path.insert(0, Heavy())\n"
        "from morl.cli import main\n"
        f"main([{command!r}, 'x.yaml'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert done.stdout == ""
    assert texts(done.stderr) == [f"T  morl {command} x.yaml: loading PyTorch and what else it needs"]


def test_a_command_of_a_plugin_says_so_too_also_of_its_help(tmp_path):
    """Nobody knows what it imports, or how long that takes."""
    found = tmp_path / "slow-1.0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (found / "entry_points.txt").write_text("[morl.commands]\nslow = slow_command:main\n")
    (tmp_path / "slow_command.py").write_text("raise SystemExit(7)\n")
    for argument in ("x.yaml", "--help"):
        done = subprocess.run(
            [sys.executable, "-c", f"from morl.cli import main; main(['slow', {argument!r}])"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 7
        assert done.stdout == ""
        what = "" if argument == "--help" else " x.yaml"
        assert texts(done.stderr) == [f"T  morl slow{what}: loading PyTorch and what else it needs"]


def test_help_imports_nothing_that_takes_seconds():
    code = (
        "import sys; from morl.cli import main\n"
        "for name in ('report', 'explain', 'replay', 'audit', 'analyze'): main([name, '--help'])\n"
        "print({'torch', 'scipy', 'matplotlib', 'transformers'} & {*sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "set()\n"


def test_help_is_not_announced(capsys):
    from morl.cli import main

    assert main(["report", "--help"]) == 0
    assert capsys.readouterr().err == ""
