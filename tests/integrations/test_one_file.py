"""The loop in one file uses morl's pieces without its trainer, and learns both rewards."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "gdpo_in_one_file.py"


def test_both_rewards_rise(capsys):
    found = runpy.run_path(str(EXAMPLE))["main"]()
    (first, last), (first_length, last_length) = found["answer"], found["short"]
    assert first < 0.4
    assert last > 0.9
    assert last_length > first_length + 5
    assert "% of the advantage" in capsys.readouterr().out


def test_it_is_short_and_leaves_the_trainer_alone():
    assert len(EXAMPLE.read_text().splitlines()) <= 150
    code = f"""
import runpy, sys
runpy.run_path({str(EXAMPLE)!r})
print(sorted({{m.split('.')[0] for m in sys.modules}} & {{'lightning', 'transformers', 'rich', 'yaml', 'datasets'}}))
print([m for m in sys.modules if m in ('morl.training', 'morl.runtime', 'morl.config')])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"
