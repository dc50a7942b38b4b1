"""`pytest --morl-plugin NAME` in a pytest of its own, as somebody with no test of his own runs it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import torch
from attrs import frozen
from morl.types import Advantages

@hookimpl
def morl_register_advantage_estimators():
    return {"plain": Plain}

@hookimpl
def morl_register_reward_providers():
    return {"judged": Judged}

@hookimpl
def morl_register_examples():
    return {"advantage estimator": {"plain": {"without": ["finite"]}}}

@frozen
class Plain:
    def __call__(self, rewards):
        values = torch.where(rewards.valid_BK, rewards.values_BK, 0.0)
        terms = rewards.weights_K.to(values.dtype) * values
        return Advantages(terms.sum(1), terms)

@frozen
class Judged:
    url: str

    def score(self, completions):
        raise AssertionError
"""


def run(folder, *arguments: str) -> tuple[int, str]:
    (folder / "test_mine.py").write_text("def test_mine(): pass\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTHONPATH"] = os.pathsep.join(str(path) for path in folder.glob("morl-*"))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_broken_law_is_named_shown_and_explained(install, tmp_path):
    install("morl-plain", CODE)
    chosen = "no-spread or zero or form or judged"
    code, said = run(tmp_path, "--morl-plugin", "morl-plain", "-k", chosen)
    assert code == 1, said
    assert "test_mine" not in said
    assert "advantage estimator plain - no-spread" in said
    assert "Plain() breaks the law 'no-spread': A batch in which no reward differs within a group has" in said
    # The smallest example that was found: one completion with one reward.
    assert "group  r0 (weight" in said
    assert "explained in docs/reference/laws.md#advantage-estimator-no-spread" in said
    assert "Traceback" not in said
    assert "needs the options url: give them in morl_register_examples" in said
    assert "1 failed, 1 passed, 1 skipped" in said


@pytest.mark.slow
def test_other_tests_run_beside_it_where_paths_are_given_and_workers_share_it(install, tmp_path):
    install("morl-plain", CODE)
    code, said = run(tmp_path, "--morl-plugin=morl-plain", "-k", "form or mine", "-n2", "test_mine.py")
    assert code == 0, said
    assert "2 passed" in said


def test_a_plugin_that_is_not_there_is_an_error_of_usage(install, tmp_path):
    code, said = run(tmp_path, "--morl-plugin=morl-exampel")
    assert code == 4, said
    assert "no plugin 'morl-exampel' is installed; did you mean 'morl-example'?" in said


def test_who_does_not_use_it_pays_nothing():
    code = "import sys, morl.authoring.pytest_plugin; print({'torch', 'attrs', 'morl.plugins'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
