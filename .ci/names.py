"""Fails if installing morl and its plugins would take `morl`, or `morl-llm`, from an index: those are a stranger's.

    python .ci/names.py [FLAGS OF PIP]

pip resolves the requirements of every project here as for an environment with nothing in it, and installs nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OWN = frozenset({"morl", "morl-llm"})


def from_elsewhere(report: Mapping[str, Any]) -> list[str]:
    """Those of pip's installation report that bear a name of ours and are not of this checkout."""
    found = []
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        place = item["download_info"]["url"]
        if name in OWN and place != ROOT.as_uri():
            found.append(f"{name} {item['metadata']['version']} from {place}")
    return found


def resolve(flags: list[str]) -> dict[str, Any]:
    """pip's report on this checkout's projects, each with all its requirements.

    Raises:
        CalledProcessError: they cannot be installed together; pip has said why.
    """
    projects = [f"{ROOT}[train,lora,report,testing]", *map(str, sorted(ROOT.glob("plugins/*/")))]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    done = subprocess.run([*command, *flags, *projects], stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    if wrong := from_elsewhere(resolve(sys.argv[1:])):
        sys.exit(f"pip would install {', '.join(wrong)}; require morl-llm, in a version that only this project has")
