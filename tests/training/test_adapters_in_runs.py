"""Runs that train on an adapter that is there already."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from morl import train


def test_a_run_begins_with_the_adapter_that_it_is_given(settings, rows_of):
    """With nothing learned, the adapter is written as it was; the reference is the policy with it, not without."""
    first = train(settings({"policy.lora": {"rank": 2}, "training.steps": 1, "optimizer.warmup_steps": 0}))
    adapter = first.model / "adapter"
    still = {"policy.lora": {"adapter": str(adapter)}, "optimizer.lr": 0.0, "loss.kl_coef": 0.5, "training.steps": 1}
    still |= {"output": str(first.folder) + "-2", "optimizer.warmup_steps": 0}
    second = train(settings(still))
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, second.model / "adapter"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(weight.abs().max() > 0 for name, weight in before.items() if "lora_B" in name)
    assert float(rows_of(second)[0]["policy/kl_reference"]) == pytest.approx(0.0, abs=1e-6)
