"""Gradients that are NaN or infinite: the run ends or goes on, and the batch can be looked at."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from morl import train
from morl.artifacts.folder import RunFolder
from morl.errors import TrainingError
from morl.loss import ClippedLoss
from morl.types import TokenLosses

ONE_STEP_EACH = {"training.mini_batches": 1, "training.inner_epochs": 1, "training.steps": 3}


class Explodes(ClippedLoss):
    """Gives infinite losses in some of its calls."""

    def __init__(self, *at):
        super().__init__()
        object.__setattr__(self, "at", at)
        object.__setattr__(self, "calls", [])

    def __call__(self, batch):
        self.calls.append(None)
        if not self.at or len(self.calls) in self.at:
            return TokenLosses(batch.policy_logprobs_T * float("inf"))
        return super().__call__(batch)


def test_a_step_is_left_out_and_the_run_goes_on(settings, weights_of, same_bits, rows_of, caplog):
    tree = settings({**ONE_STEP_EACH, "training.on_nonfinite": "skip", "optimizer.warmup_steps": 0})
    result = train(tree, loss=Explodes(2))
    assert [math.isfinite(float(row["optimizer/grad_norm"])) for row in rows_of(result)] == [True, False, True]
    assert "step 2: the gradient is not finite, and its optimizer step is left out" in caplog.text
    folder = RunFolder(result.folder)
    content = [torch.load(folder.checkpoint(step), weights_only=True)["state_dict"] for step in (1, 2, 3)]
    weights = [{name: weight for name, weight in each.items() if name.startswith("policy.")} for each in content]
    assert same_bits(weights[0], weights[1])
    assert not same_bits(weights[1], weights[2])


def test_the_batch_is_saved_as_plain_values(settings, tiny_model):
    tree = settings(ONE_STEP_EACH)
    with pytest.raises(TrainingError, match=r"of step 2 is not finite, .*; the batch is in .*step-000002-rank-0.pt;"):
        train(tree, loss=Explodes(2))
    path = RunFolder(Path(tree["output"])).nonfinite / "step-000002-rank-0.pt"
    batch = torch.load(path, weights_only=True)
    assert batch["step"] == 2
    assert not math.isfinite(batch["gradient_norm"])
    assert len(batch["parameters"]) > 20
    assert batch["completion_ids_BT"].shape == batch["completion_mask_BT"].shape == batch["sampled_mask_BT"].shape
    assert len(batch["prompts"]) == 6
    assert batch["rewards_BK"].shape == (24, len(batch["reward_names"])) == (24, 2)
    assert len(batch["advantages_B"]) == 24


def test_it_outlives_a_run_that_is_taken_back_and_is_in_nobodys_way(settings):
    tree = settings(ONE_STEP_EACH)
    with pytest.raises(TrainingError, match=r"of step 1 is not finite, .*; begin again with a smaller"):
        train(tree, loss=Explodes(1))
    left = [path.name for path in Path(tree["output"]).iterdir()]
    assert left == ["nonfinite"]
    assert train(tree).model.is_dir()


def test_what_never_recovers_ends_the_run(settings, recwarn):
    tree = settings({**ONE_STEP_EACH, "training.steps": 20, "training.on_nonfinite": "skip"})
    with pytest.raises(TrainingError, match="the gradient of step 10 is not finite 10 times in a row"):
        train(tree, loss=Explodes())
    assert not [each for each in recwarn if "lr_scheduler.step()" in str(each.message)]


def test_a_step_that_is_made_begins_the_count_anew(settings, rows_of):
    tree = settings({**ONE_STEP_EACH, "training.steps": 12, "training.on_nonfinite": "skip"})
    result = train(tree, loss=Explodes(*range(1, 10), 11, 12))
    made = [math.isfinite(float(row["optimizer/grad_norm"])) for row in rows_of(result)]
    assert made == [False] * 9 + [True, False, False]
