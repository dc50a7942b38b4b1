"""Whether base, `report` and `testing` work beside a transformers that the trainer refuses: `make test-light`."""

from __future__ import annotations

import runpy
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers  # the point: what other trainers pin imports, and so do the estimators

from morl import GDPO, gdpo, grpo, grpo_no_std
from morl.advantage.gdpo import textbook_gdpo
from morl.advantage.grpo import textbook_grpo, textbook_grpo_no_std
from morl.cli import main as morl
from morl.plugins import Registry
from morl.testing import check_advantage_estimator

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "support"))


def main() -> None:
    from little_run import little_run, reading

    assert int(transformers.__version__.partition(".")[0]) < 5, transformers.__version__

    rewards_PGK = torch.rand(6, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = {"r0": 1.0, "r1": 0.5, "r2": 2.0}
    weights_K = torch.tensor(list(weights.values()), dtype=torch.float64)
    for ours, textbook in (
        (gdpo(rewards_PGK, weights, eps=0), textbook_gdpo(rewards_PGK, weights_K)),
        (grpo(rewards_PGK, weights, eps=0), textbook_grpo(rewards_PGK, weights_K)),
        (grpo_no_std(rewards_PGK, weights), textbook_grpo_no_std(rewards_PGK, weights_K)),
    ):
        torch.testing.assert_close(ours, textbook, rtol=0, atol=1e-12)

    names = [part.name for part in Registry(discover=False).names("advantage estimator")]
    assert "gdpo" in names, names

    done = subprocess.run(
        [sys.executable, "-m", "morl", "train", "x.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done
    begun, error = done.stderr.splitlines()
    assert begun.endswith("morl train x.yaml: loading PyTorch and what else it needs"), done.stderr
    assert error.startswith("error: `morl train` needs the trainer, and "), done.stderr
    assert error.endswith("install it with: pip install 'morl-llm[train]'"), done.stderr

    assert not [name for name in ("lightning", "datasets", "jsonargparse") if find_spec(name)]
    check_advantage_estimator(GDPO, max_examples=5)
    with tempfile.TemporaryDirectory() as folder:
        for call in reading(little_run(Path(folder) / "run")):
            assert morl(call) == 0, call

    for example in sorted((ROOT / "examples").glob("*_in_one_file.py")):
        runpy.run_path(str(example), run_name="__main__")
    print(f"the base is sound beside transformers {transformers.__version__}, torch {version('torch')}")


if __name__ == "__main__":
    main()
