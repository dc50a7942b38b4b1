"""Applies mutations to copies of the package, one at a time, and tells which of them the tests see.

    python tests/mutations/apply_mutations.py                      all of them, after the same tests passed without any
    python tests/mutations/apply_mutations.py "betas are swapped"  this one, without that check

Ends with 0 if every mutation is killed, else with 1.  All of them take hours, so what was killed is noted in a file,
and is not done again when they are begun once more on the same package and tests.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path

from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "lightning.pytorch", "peft", "datasets")
"""What every test imports: loaded once, and inherited by the process of each mutation."""
VERDICTS = {0: "SURVIVED", 1: "killed"}
NOTES = ROOT / "build" / "mutations.txt"
UNHARMED = "no mutation"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the mutations that are named, or all; prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="mutations to apply; none: all, after the tests passed without any")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutations tested side by side")
    parser.add_argument("--notes", type=Path, default=NOTES, help="file of what was killed; default: %(default)s")
    options = parser.parse_args(arguments)
    known = {mutation.name: mutation for mutation in MUTATIONS}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"unknown mutations {unknown}; known: {', '.join(known)}")
    chosen = [known[name] for name in options.names] or list(MUTATIONS)
    for mutation in chosen:
        module_of(ROOT, mutation)  # all of them are found before any test runs
    notes = Notes(options.notes, again=bool(options.names))
    waiting = [mutation for mutation in chosen if not notes.has(mutation.name)]
    if len(waiting) < len(chosen):
        print(f"{len(chosen) - len(waiting)} mutations were killed before, as {options.notes} says", flush=True)
    for library in HEAVY if waiting else ():
        importlib.import_module(library)
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        if not options.names and not notes.has(UNHARMED):
            if not _unharmed(Path(folder), chosen):
                return 1
            notes.add(UNHARMED)
        for mutation, verdict in _verdicts(Path(folder), waiting, options.jobs):
            if verdict == "killed":
                notes.add(mutation.name)
            survivors += verdict != "killed"
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations killed")
    return 1 if survivors else 0


class Notes:
    """What was found of this state of package and tests, so that hours of work survive an interruption.

    Args:
        file: lines of a digest of all sources, and the name of a mutation that was killed.
        again: whether what is noted is done again all the same.
    """

    def __init__(self, file: Path, again: bool) -> None:
        sources = sorted(path for name in ("morl", "tests") for path in (ROOT / name).rglob("*.py"))
        digest = hashlib.sha256()
        for path in sources:
            digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
        self._state, self._file = digest.hexdigest(), file
        lines = file.read_text().splitlines() if file.is_file() and not again else ()
        self._names = {name for state, _, name in (line.partition(" ") for line in lines) if state == self._state}

    def has(self, name: str) -> bool:
        """Whether this was found before."""
        return name in self._names

    def add(self, name: str) -> None:
        """Notes it on the disk."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(f"{self._state} {name}\n")


def module_of(root: Path, mutation: Mutation) -> Path:
    """The module of the package in which the text of the mutation stands.

    Raises:
        LookupError: it stands nowhere, or more than once.
    """
    found = [path for path in (root / "morl").rglob("*.py") for _ in range(path.read_text().count(mutation.old))]
    if len(found) != 1:
        places = ", ".join(str(path.relative_to(root)) for path in found) or "nowhere"
        raise LookupError(
            f"the mutation {mutation.name!r} expects the text {mutation.old!r} once in the package; it stands in"
            f" {places}: update tests/mutations/mutations.py"
        )
    return found[0]


def _unharmed(folder: Path, chosen: Sequence[Mutation]) -> bool:
    """Whether the tests pass on the package as it is; else nothing that fails later would say anything."""
    tests = sorted({test for mutation in chosen for test in mutation.tests})
    process = _start(_copy(folder / "unharmed", None), tests)
    process.join()
    if process.exitcode:
        print(f"the tests fail without any mutation:\n{(folder / 'unharmed' / 'output.txt').read_text()[-5000:]}")
    return process.exitcode == 0


def _verdicts(folder: Path, chosen: Sequence[Mutation], jobs: int) -> Iterator[tuple[Mutation, str]]:
    """Verdicts in the order in which they are reached, each of them printed with its mutation."""
    waiting = list(enumerate(chosen))
    running: dict[int, tuple[ForkProcess, Mutation, Path, float]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, mutation = waiting.pop(0)
            copy = _copy(folder / str(number), mutation)
            process = _start(copy, mutation.tests)
            running[process.sentinel] = (process, mutation, copy, time.monotonic())
        for sentinel in wait(list(running)):
            assert isinstance(sentinel, int)
            process, mutation, copy, begun = running.pop(sentinel)
            process.join()
            verdict = VERDICTS.get(process.exitcode or 0, f"ERROR {process.exitcode}")
            output = (copy / "output.txt").read_text()
            print(f"{verdict:<10} {time.monotonic() - begun:4.0f} s  {mutation.name:<60} {_reason(output)}", flush=True)
            if verdict != "killed":
                print(output[-3000:], flush=True)
            shutil.rmtree(copy)
            yield mutation, verdict


def _reason(output: str) -> str:
    """The first line that pytest gives for a failure, so that a kill can be seen to be one."""
    return next((line[1:].strip()[:80] for line in output.splitlines() if line.startswith("E  ")), "")


def _copy(folder: Path, mutation: Mutation | None) -> Path:
    """A copy of package and tests, with the mutation in it."""
    for name in ("morl", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    if mutation is not None:
        module = module_of(folder, mutation)
        module.write_text(module.read_text().replace(mutation.old, mutation.new))
    return folder


def _start(folder: Path, tests: Sequence[str]) -> ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=_test, args=(folder, tests))
    process.start()
    return process


def _test(folder: Path, tests: Sequence[str]) -> None:
    """In a process of its own: pytest on the copy; the exit code is pytest's."""
    import pytest

    assert not any(name.split(".")[0] == "morl" for name in sys.modules), "the copy's package has to be imported"
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)  # of the processes that tests start
    with (folder / "output.txt").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = pytest.main(
                ["-x", "-n0", "--tb=short", "-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}", *tests]
            )
    morl = sys.modules.get("morl")
    inside = morl is None or Path(str(morl.__file__)).is_relative_to(folder)
    os._exit(int(code) if inside else 99)


if __name__ == "__main__":
    sys.exit(main())
