"""TRL's own trainer and morl, side by side on the same rollouts: options must come to the same gradients."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("trl", reason="TRL is not installed: pip install 'morl-llm[benchmarks]'")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

OPTIONS = (
    "adamw",
    "dapo",
    "dr_grpo",
    "scale-batch",
    "gdpo",
    "gspo",
    "kl-unbiased",
    "reference-moved",
    "entropy",
    "entropy-adaptive",
    "temperature",
    "tis",
    "mis",
)
"""Those in which more than the arithmetic of a loss takes part; `tests/loss/test_beside_trl.py` has every loss."""


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module `trl_check` of the benchmarks, and a folder with the model that it trains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import trl_cases
        import trl_check

        folder = tmp_path_factory.mktemp("trl") / "model"
        trl_cases.save_model(trl_check.CHECKED, folder)
        yield trl_check, folder
    for name in ("trl_cases", "trl_check", "trl_runs"):
        sys.modules.pop(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_has_the_gradients_of_trl(checks: Any, name: str) -> None:
    module, folder = checks
    advantages, gradients = module.apart(module.CHECKED, folder, module.OPTIONS[name])
    # Seen: up to 4e-6.  The limit of the command, 1e-5, ten times over for the kernels of other machines.
    assert advantages < 1e-4
    assert gradients < 1e-4


@pytest.mark.slow
def test_the_options_tell_apart(checks: Any) -> None:
    """The gradients of any two differ by far more than that, on rollouts that begin alike."""
    module, folder = checks
    seen = {}
    for name in ("dapo", "gspo", "tis"):
        run = module.train_trl(module.CHECKED, folder, module.OPTIONS[name], 1)
        seen[name] = run.gradients[-1]
    names = list(seen)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            assert (seen[first] - seen[second]).norm() > 1e-2 * seen[first].norm(), (first, second)


@pytest.mark.slow
def test_the_command_prints_each_comparison_and_ends_with_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    script = str(BENCHMARKS / "against_trl.py")
    command = [sys.executable, script, "--check", "--cases", "--options", "grpo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("of TRL's")) == (0, 1), done.stdout + done.stderr
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("against_trl", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LIMIT", 0.0)
    with pytest.raises(SystemExit, match="they differ: grpo"):
        module.check_all([], ["grpo"], Console())
