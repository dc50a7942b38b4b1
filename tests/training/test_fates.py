"""What the loss did with tokens, as samples say it, against the masks and the clip by hand."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from morl import train
from morl.artifacts.folder import RunFolder
from morl.training.fates import FATES, fates, pieces


def experience(values_B, values_BT=None, dropped=(0, 0, 0), truncated=(0, 0, 0)):
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    sampled = mask.clone()
    sampled[0, 2] = False
    return SimpleNamespace(
        rollouts=SimpleNamespace(completion_mask_BT=mask, sampled_mask_BT=sampled),
        local_rows=torch.arange(3),
        advantages=SimpleNamespace(values_B=torch.tensor(values_B), values_BT=values_BT),
        scores=SimpleNamespace(dropped_B=torch.tensor(dropped).bool(), truncated_B=torch.tensor(truncated).bool()),
    )


def words(found_BT):
    return [[FATES[place] if place >= 0 else "" for place in row] for row in found_BT.tolist()]


def test_every_token_has_one_fate():
    clipped = torch.zeros(3, 4, dtype=torch.bool)
    clipped[0, 1] = clipped[1, 0] = True
    found = fates(experience([1.0, -0.5, 0.0]), clipped, mask_truncated=False)
    assert words(found) == [["up", "clipped", "read", "up"], ["clipped", "down", "down", ""], ["zero", "zero", "", ""]]


def test_what_is_left_out_is_masked_whatever_its_advantage():
    given = experience([1.0, -0.5, 2.0], dropped=(1, 0, 0), truncated=(0, 1, 0))
    assert words(fates(given, None, mask_truncated=True))[:2] == [
        ["masked", "masked", "read", "masked"],
        ["masked", "masked", "masked", ""],
    ]
    assert words(fates(given, None, mask_truncated=False))[1] == ["down", "down", "down", ""]
    clipped = torch.ones(3, 4, dtype=torch.bool)
    assert words(fates(given, clipped, mask_truncated=False))[0] == ["masked", "masked", "read", "masked"]


def test_advantages_of_tokens_count_where_there_are_some():
    values = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [-1.0, 1.0, 0.0, 0.0]])
    found = words(fates(experience([0.0, 0.0, 0.0], values), None, mask_truncated=False))
    assert found == [["up", "down", "read", "zero"], ["zero", "zero", "zero", ""], ["down", "up", "", ""]]


def test_neighbours_of_one_fate_are_one_piece():
    up, clipped = FATES.index("up"), FATES.index("clipped")
    found = pieces([5, 6, 7, 8, 0], [up, up, clipped, up, -1], lambda ids: "".join(map(str, ids)))
    assert found == [["up", "56"], ["clipped", "7"], ["up", "8"]]


@pytest.mark.parametrize("inner_epochs", [1, 4])
def test_samples_of_a_run_say_what_was_clipped(settings, inner_epochs):
    """One pass over the batch meets the policy that sampled it, and clips nothing; later ones at this rate do."""
    result = train(
        settings(
            {
                "training.steps": 2,
                "training.mini_batches": 1,
                "training.inner_epochs": inner_epochs,
                "training.samples_every": 1,
                "loss": {"clip_low": 0.01, "clip_high": 0.01},
                "optimizer.lr": 0.05,
                "optimizer.warmup_steps": 0,
            }
        )
    )
    rows = [json.loads(line) for line in RunFolder(result.folder).sample_file(1).read_text().splitlines()]
    signs = {"up": 1, "down": -1, "zero": 0}
    seen = set()
    for row in rows:
        for fate, _ in row.get("pieces") or [[row["fate"], row["completion"]]]:
            seen.add(fate)
            if fate in signs:
                assert signs[fate] == (row["advantage"] > 0) - (row["advantage"] < 0)
    assert ("clipped" in seen) == (inner_epochs > 1)
