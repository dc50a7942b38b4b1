"""The suite's tests have the same names in the same order in every process, as workers side by side need."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WHOLE = ("tests", "plugins")
APART = 3
"""Seconds between the two collections, so that a name with the time in it differs."""


def collecting(*arguments: str, seed: int, folder: Path = ROOT) -> subprocess.Popen[str]:
    """A process that lists its tests; another seed orders sets otherwise, and addresses differ in any case."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", "-n0", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def names(process: subprocess.Popen[str]) -> list[str]:
    """What it listed.  Fails if a module could not be collected."""
    output, _ = process.communicate()
    assert process.returncode == 0, output[-5000:]
    return [line for line in output.splitlines() if "::" in line]


def listed_twice(*arguments: str, folder: Path = ROOT) -> tuple[list[str], list[str]]:
    first = collecting(*arguments, seed=1, folder=folder)
    time.sleep(APART)
    second = collecting(*arguments, seed=2, folder=folder)
    return names(first), names(second)


def collected_here(session: pytest.Session) -> list[str] | None:
    """What this process has collected, if that was the whole suite; it saves a collection, half a minute of a core."""
    option = session.config.option
    whole = [Path(path).name for path in session.config.args] == list(WHOLE)
    if not whole or option.markexpr or option.keyword or option.deselect or option.ignore:
        return None
    return [item.nodeid for item in session.items]


@pytest.mark.slow
def test_two_processes_collect_the_same_tests(request):
    here = collected_here(request.session)
    if here is None:
        first, second = listed_twice(*WHOLE)
    else:
        time.sleep(APART)
        first, second = here, names(collecting(*WHOLE, seed=2))
    assert len(first) > 1000
    assert first == second, sorted(set(first) ^ set(second))


def test_names_that_differ_are_seen(tmp_path):
    """Each kind of name that the test above is there for."""
    kinds = {
        "time": "[time.time()]",
        "address": "[str(object())]",
        "randomness": "[random.random()]",
        "set_order": "sorted({'a', 'b', 'c', 'd', 'e', 'f', 'g'}, key=hash)",
    }
    tests = (
        f"@pytest.mark.parametrize('value', {values}, ids=str)\ndef test_{kind}(value): pass\n"
        for kind, values in kinds.items()
    )
    (tmp_path / "test_names.py").write_text("import random, time, pytest\n" + "".join(tests))
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -q\n")
    first, second = listed_twice(folder=tmp_path)
    assert len(first) == len(second) > 0
    for kind in kinds:
        of_it = [[name for name in listed if f"::test_{kind}[" in name] for listed in (first, second)]
        assert of_it[0], kind
        assert of_it[0] != of_it[1], kind
