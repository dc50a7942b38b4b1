"""A short form of the long run: handles, threads and processes of step 30 are those of step 6."""

from __future__ import annotations

import json
from pathlib import Path

import forks
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.slow
@pytest.mark.parametrize("lag", [0, 1])
def test_a_run_opens_nothing_that_it_does_not_close(tmp_path: Path, lag: int) -> None:
    figures = tmp_path / "soak.json"
    done = forks.run([SCRIPT, "--steps", "30", "--lag", str(lag), "--check", "--json", figures], tmp_path)
    assert done.returncode == 0, done.output
    rows = json.loads(figures.read_text())["rows"]
    assert rows[-1]["steps"] == 30
    assert rows[-1]["children"] >= 1, "the isolated reward has its process"


def test_what_grows_is_found(tmp_path: Path) -> None:
    """Handles that are never closed, one a step, seen as the script sees them."""
    leak = (
        "import sys, soak\n"
        "first = [soak.look(None)]\n"
        "kept = []\n"
        "for _ in range(40):\n"
        "    kept.append(open('/dev/null'))\n"
        "    first.append(soak.look(None))\n"
        "rows = soak.table(first)\n"
        "sys.exit(0 if rows[-1]['handles'] == rows[1]['handles'] + 33 else 1)\n"
    )
    (tmp_path / "leak.py").write_text(f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})\n" + leak)
    done = forks.run([tmp_path / "leak.py"], tmp_path)
    assert done.returncode == 0, done.output
