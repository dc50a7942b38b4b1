"""The base distribution: torch, attrs and pluggy; what needs the trainer says so."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from morl import _extras

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TRAIN = [Requirement(line).name for line in PROJECT["optional-dependencies"]["train"]]

BLOCKER = f"""
import sys

class Absent:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in {sorted(_extras.TRAINER)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
"""As if nothing of the extra were installed."""


def on_the_base(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCKER + code], capture_output=True, text=True, check=False
    )


def test_the_base_requires_three_packages_without_upper_bounds():
    required = [Requirement(line) for line in PROJECT["dependencies"]]
    assert sorted(requirement.name for requirement in required) == ["attrs", "pluggy", "torch"]
    assert all(clause.operator == ">=" for requirement in required for clause in requirement.specifier)


def test_every_requirement_of_the_trainer_is_known_to_the_command_line():
    modules = {name.replace("-", "_").replace("pyyaml", "yaml") for name in TRAIN} - {"torch"}
    assert modules <= _extras.TRAINER


def test_the_estimators_need_nothing_of_the_trainer():
    code = "import torch, morl\nprint(morl.gdpo(torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]), eps=0).tolist())"
    done = on_the_base(code)
    assert done.stdout == "[[-1.0, 1.0]]\n".replace("1.0", "0.7071067690849304"), done.stderr


@pytest.mark.parametrize("command", ["train", "resume", "compare", "evaluate", "plugins"])
def test_a_command_without_the_trainer_says_what_to_install(command):
    done = on_the_base(f"from morl.cli import main\nsys.exit(main([{command!r}, 'x']))")
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()  # after the one that says that it has begun
    assert line.startswith(f"error: `morl {command}` needs the trainer, and ")
    assert line.endswith("is not installed; install it with: pip install 'morl-llm[train]'")


def test_a_public_name_of_the_trainer_says_so_too():
    done = on_the_base("from morl import train")
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: morl.train needs the trainer, and ")


def test_a_module_of_somebody_else_is_not_blamed_on_the_extra():
    assert _extras.what_to_install(ModuleNotFoundError("x", name="sympy"), "`morl train`") is None
    assert _extras.what_to_install(ModuleNotFoundError("x"), "`morl train`") is None
