"""A run whose samples are not those of the network it trains warns, and ends."""

from __future__ import annotations

import pytest
import torch

from morl import train
from morl.config.load import parse
from morl.errors import TrainingError
from morl.plugins import Registry
from morl.rollout.transformers import TransformersBackend
from morl.training.probe import Difference
from morl.training.watch import BFLOAT16, FLOAT32, DifferenceWatch, difference_limit


def of(mean):
    return Difference(total=10 * mean, tokens=10, largest=3 * mean)


def test_the_second_step_in_a_row_ends_the_run():
    watch = DifferenceWatch(0.1)
    watch.see(of(0.1), 0)
    with pytest.warns(UserWarning, match=r"in step 1 .* differ by 0.2 on average and 0.6 at most; the limit is 0.1 \("):
        watch.see(of(0.2), 1)
    watch.see(of(0.01), 2)
    with pytest.warns(UserWarning, match="in step 3"):
        watch.see(of(float("nan")), 3)
    with pytest.raises(TrainingError, match=r"in step 4 .* Look at policy.attention .* The run ends"):
        watch.see(of(0.2), 4)


def test_no_limit_watches_nothing(recwarn):
    DifferenceWatch(None).see(of(9.0), 0)
    assert not recwarn


@pytest.mark.parametrize(
    ("changes", "backend", "limit"),
    [
        ({}, TransformersBackend(), FLOAT32),
        ({}, object(), None),
        ({"policy.dtype": "bfloat16"}, TransformersBackend(), BFLOAT16),
        ({"trainer.precision": "bf16-mixed"}, TransformersBackend(), BFLOAT16),
        ({"policy.lora": {"dropout": 0.1}}, TransformersBackend(), None),
        ({"policy.lora": {"rank": 4}}, TransformersBackend(), FLOAT32),
        ({"rollout.max_logprob_difference": 0.5}, object(), 0.5),
        ({"rollout.max_logprob_difference": 0}, TransformersBackend(), None),
    ],
)
def test_the_limit_follows_precision_and_backend(settings, changes, backend, limit):
    assert difference_limit(parse(settings(changes), Registry()), backend) == limit


class Biased(TransformersBackend):
    """Says other log-probabilities than the policy's."""

    def generate(self, *arguments):
        batch = super().generate(*arguments)
        batch.rollout_logprobs_BT.sub_(0.5 * batch.sampled_mask_BT)
        return batch


@pytest.mark.filterwarnings("ignore:what sampled and what is trained")
def test_a_run_ends_at_its_second_step(settings):
    with pytest.raises(TrainingError, match=r"not the same network: in step 1 .* differ by 0.5 on average"):
        train(settings(), rollout=Biased())


def test_rounding_is_far_below_the_limit(settings, rows_of):
    result = train(settings({"training.steps": 1, "training.mini_batches": 1}))
    assert torch.tensor([float(row["rollout/logprob_difference"]) for row in rows_of(result)]).max() < FLOAT32 / 100
