"""Options of the update on two ranks end where one process does, and resume bit for bit, with several to each run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import forks
import options_run
import pytest

pytestmark = pytest.mark.slow

ROUNDING = 1e-4
"""As in `test_run.py`."""

KL = {"loss.kl_coef": 0.3}
RUNS: dict[str, dict[str, Any]] = {
    "sapo": {"loss.name": "sapo", "rewards.kl": {"name": "reference-kl", "weight": 0.5}, "sampling.min_p": 0.05},
    "cispo": KL
    | {
        "loss.name": "cispo",
        "loss.max_ratio": 1.01,
        "loss.kl_estimator": "k1",
        "loss.kl_unbiased": True,
        "optimizer.weight_decay": 0.1,
        "optimizer.decay": "matrices",
        "optimizer.schedule": {"name": "wsd", "decay_ratio": 0.5},
    },
    "dora": KL
    | {
        "policy.lora": {"rank": 2, "dora": True, "modules_to_save": ["norm"]},
        "policy.gradient_checkpointing": True,
        "rollout.lag": 1,
        "importance": {"correction": "masked", "level": "sequence", "low": 0.9, "high": 1.1},
    },
    "best": {
        "loss.delta": 1.5,
        "training.dynamic_sampling_rounds": 2,
        "training.keep_best": "vowel",
        "evaluation.every": 1,
    },
    "vespo": KL
    | {
        # `norm` is outside the blocks, where FSDP2 keeps what it has gathered until a backward pass.
        "policy.lora": {"rank": 2, "modules_to_save": ["norm"]},
        "loss.name": "vespo",
        "loss.off_policy_threshold": 1e-4,
        "entropy": {"coef": 0.1, "target": 20.0, "delta": 0.05},
    },
    "luspo": {
        "loss.name": "luspo",
        "loss.top_entropy": 0.5,
        "training.mask_truncated": True,
        "sampling.stop": ["e", " "],
        "sampling.overrides_column": "drawn",
    },
    "dropout": {"policy.lora": {"rank": 2, "dropout": 0.2}, "rewards.kl": {"name": "reference-kl", "weight": 0.1}},
    "bfloat16": {"policy.dtype": "bfloat16"},
    "muon": {"optimizer.name": "muon"},
}
ON = {"ddp": ("sapo", "cispo", "dora", "best", "bfloat16"), "fsdp2": ("vespo", "luspo", "dropout", "muon")}
NOISY = ("dropout", "bfloat16", "muon")
"""Of which two ranks do not end where one process does: each draws its own dropout, and sums are rounded to bfloat16,
as Muon rounds gradients, too."""


@pytest.fixture
def config(settings, prompt_file, tmp_path):
    """`config(name, output, **trainer)`: that of a run, with rows that bring settings of their own."""
    rows = [json.loads(line) for line in prompt_file.read_text().splitlines()]
    own = [None, {"temperature": 0.7}, {"top_p": 0.9, "max_tokens": 8}]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row | {"drawn": own[n % 3]}) + "\n" for n, row in enumerate(rows)))

    def make(name: str, output: Path, **trainer: Any) -> dict[str, Any]:
        made = settings(RUNS[name] | {"prompts.path": str(prompts), "training.steps": 2, "output": str(output)})
        made["optimizer"]["eps"] = 1e-3
        if "evaluation" in made:
            made["evaluation"]["prompts"] = {"path": str(prompts), "limit": 4}
        made["trainer"] |= trainer
        return made

    return make


def figures(folder: Path) -> list[dict[str, str]]:
    """Every metric but those of the clock."""
    with (folder / "logs" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{n: v for n, v in row.items() if not n.startswith("time/") and "per_second" not in n} for row in rows]


@pytest.mark.parametrize("strategy", ON)
def test_two_ranks(strategy, config, tmp_path, difference, weights_of, same_bits):
    together = [config(name, tmp_path / name, devices=2, strategy=strategy) for name in ON[strategy]]
    (tmp_path / "configs.json").write_text(json.dumps(together))
    done = forks.run([options_run.__file__, tmp_path / "configs.json"], tmp_path, ranks=2)
    assert done.returncode == 0, done.output
    for name in ON[strategy]:
        whole, resumed, alone = (tmp_path / f"{name}{ending}" for ending in ("", "-resumed", "-alone"))
        for model in ("model", "best") if name == "best" else ("model",):
            assert same_bits(weights_of(whole / model), weights_of(resumed / model)), name
        assert figures(whole) == figures(resumed), name
        if name not in NOISY:
            options_run.whole_and_resumed(config(name, alone))
            assert difference(alone / "model", whole / "model") < ROUNDING, name
            assert same_bits(weights_of(alone / "model"), weights_of(tmp_path / f"{name}-alone-resumed" / "model"))
