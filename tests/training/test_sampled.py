"""What was sampled ahead comes back from a checkpoint as it was, also from one of an earlier version."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attrs import fields

from morl.errors import PluginError
from morl.training.probe import Difference
from morl.training.sampled import Sampled
from morl.types import CompletionStatus, EncodedPrompt, Prompt, RolloutBatch, Turn

PROMPTS = (EncodedPrompt(Prompt("2+2?"), "2+2?", (1, 2), 17),)
ADDED = ("_sampled_mask_BT", "_turns", "_statuses", "_infos")
"""Fields that batches did not have once."""


def batch(**changes):
    given = {
        "prompts": PROMPTS,
        "group_ids_B": torch.zeros(2, dtype=torch.int64),
        "completion_ids_BT": torch.tensor([[5, 6, 7], [8, 0, 0]]),
        "completion_mask_BT": torch.tensor([[True] * 3, [True, False, False]]),
        "rollout_logprobs_BT": torch.tensor([[-0.5, 0.0, -1.5], [-2.0, 0.0, 0.0]]),
        "truncated_B": torch.tensor([False, True]),
        "texts": ("4", "cut"),
        "weights_versions_B": torch.tensor([3, 3]),
    }
    return RolloutBatch(**(given | changes))


def conversation(info):
    turns = (
        (Turn(0, 1, "?", {"role": "assistant", "content": "?"}, ({"role": "user", "content": "4?"},)),),
        (Turn(0, 1, "cut", {"role": "assistant", "content": "cut"}, truncated=True),),
    )
    second = Turn(2, 3, "4", {"role": "assistant", "content": "4"}, rewards={"right": None})
    return batch(
        sampled_mask_BT=torch.tensor([[True, False, True], [True, False, False]]),
        turns=((*turns[0], second), turns[1]),
        statuses=(CompletionStatus.COMPLETED, CompletionStatus.TOKEN_LIMIT),
        infos=({"seen": info}, {}),
    )


def alike(one, other):
    """Field by field, tensors bit by bit."""
    for field in fields(RolloutBatch):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if isinstance(first, torch.Tensor):
            assert torch.equal(first, second)
            assert first.dtype == second.dtype
        elif field.name == "_turns" and first is not None:
            for mine, yours in zip(first, second, strict=True):
                assert [repr(turn) for turn in mine] == [repr(turn) for turn in yours]
        else:
            assert first == second


@pytest.mark.parametrize("make", [batch, lambda: conversation([1, 2])], ids=["one-turn", "conversation"])
def test_a_batch_comes_back_as_it_was_without_foreign_code(tmp_path, make):
    torch.save(Sampled(make(), Difference(1.5, 3, 0.75)).plain(), tmp_path / "ahead.pt")
    back = Sampled.from_plain(torch.load(tmp_path / "ahead.pt", weights_only=True), PROMPTS)
    alike(back.batch, make())
    assert back.difference == Difference(1.5, 3, 0.75)
    assert back.batch.statuses == make().statuses
    assert all(type(status) is CompletionStatus for status in back.batch.statuses)


def test_what_an_environment_says_must_be_readable_without_foreign_code():
    ahead = Sampled(conversation(np.float64(1.0)), Difference())
    with pytest.raises(
        PluginError, match=r"sampled ahead: state\['batch'\]\['infos'\]\[0\]\['seen'\] is a numpy.float"
    ):
        ahead.plain()


def test_a_batch_of_an_earlier_version_is_completed():
    former = batch(prompts=())
    read = object.__new__(RolloutBatch)
    # What unpickling does.
    read.__setstate__({f.name: getattr(former, f.name) for f in fields(RolloutBatch) if f.name not in ADDED})
    assert not any(hasattr(read, name) for name in ADDED)
    back = Sampled.from_plain(Sampled(read, Difference(1.0, 2, 0.5)), PROMPTS)
    alike(back.batch, batch())
    assert back.difference == Difference(1.0, 2, 0.5)
