"""Says in one line where pip looks for packages, so that whoever waits for an installation knows for what.

    python .ci/indexes.py [FLAGS OF PIP]

Passwords are left out.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence

_OPTIONS = ("index-url", "extra-index-url", "find-links")


def configured() -> Iterator[tuple[str, str]]:
    """Option and value, of pip's files and of the environment."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        yield name.rpartition(".")[2], value.strip("'\"")


def on_the_command_line(flags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Option and value, of `--option=value` or `--option value`."""
    for flag, following in itertools.pairwise([*flags, ""]):
        name, equals, value = flag.partition("=")
        yield name.removeprefix("--"), value if equals else following


def places(flags: Sequence[str]) -> str:
    """The index first, then what is searched besides."""
    found: dict[str, list[str]] = {option: [] for option in _OPTIONS}
    for option, value in [*configured(), *on_the_command_line(flags)]:
        if option in found:
            found[option] += [re.sub(r"//[^/@]*@", "//", place) for place in value.split()]
    index = found["index-url"][-1:] or ["PyPI"]
    return ", ".join(dict.fromkeys([*index, *found["extra-index-url"], *found["find-links"]]))


if __name__ == "__main__":
    print(f"   packages come from: {places(sys.argv[1:])}")
