"""The suite's tests have the same names in the same order in every process, as workers side by side need."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
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


@pytest.mark.slow
def test_two_processes_collect_the_same_tests():
    first, second = listed_twice("tests", "plugins")
    assert len(first) > 1000
    assert first == second, sorted(set(first) ^ set(second))


@pytest.mark.parametrize(
    "values",
    ["[time.time()]", "[str(object())]", "[random.random()]", "sorted({'a', 'b', 'c', 'd', 'e', 'f', 'g'}, key=hash)"],
    ids=["time", "address", "randomness", "set-order"],
)
def test_names_that_differ_are_seen(tmp_path, values):
    """Each kind of name that the test above is there for."""
    (tmp_path / "test_names.py").write_text(
        f"import random, time, pytest\n@pytest.mark.parametrize('value', {values}, ids=str)\ndef test(value): pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -q\n")
    first, second = listed_twice(folder=tmp_path)
    assert len(first) == len(second) > 0
    assert first != second
