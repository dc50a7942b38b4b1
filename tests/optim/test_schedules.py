"""Every schedule beside transformers' of the same kind, step by step, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import get_scheduler

from morl.errors import ConfigError
from morl.optim.schedule import (
    Constant,
    Cosine,
    CosineWithRestarts,
    InverseSqrt,
    Linear,
    Polynomial,
    WarmupStableDecay,
    learning_rate_factor,
    warmup_steps,
)
from morl.optim.transformers_schedule import TransformersSchedule

LR, WARMUP, STEPS = 0.02, 4, 21

PAIRS = {
    "constant": (Constant(), "constant_with_warmup", {}, {}),
    "linear": (Linear(), "linear", {}, {}),
    "cosine": (Cosine(), "cosine", {}, {}),
    "restarts": (CosineWithRestarts(3), "cosine_with_restarts", {"num_cycles": 3}, {}),
    "polynomial": (Polynomial(2.0), "polynomial", {"power": 2.0, "lr_end": 0.001}, {"min_lr": 0.001}),
    "inverse-sqrt": (InverseSqrt(), "inverse_sqrt", {}, {}),
    "inverse-sqrt-timescale": (InverseSqrt(9), "inverse_sqrt", {"timescale": 9}, {}),
    "wsd": (
        WarmupStableDecay(decay_steps=5, shape="cosine"), "warmup_stable_decay", {"num_decay_steps": 5}, {},
    ),
    "wsd-share": (
        WarmupStableDecay(0.3), "warmup_stable_decay",
        {"num_decay_steps": 5, "decay_type": "linear", "min_lr_ratio": 0.1}, {"min_lr": 0.1 * LR},
    ),
    "wsd-sqrt": (
        WarmupStableDecay(1.0, shape="1-sqrt"), "warmup_stable_decay",
        {"num_decay_steps": 17, "decay_type": "1-sqrt"}, {},
    ),
    "min-lr": (Cosine(), "cosine_with_min_lr", {"min_lr": 0.004}, {"min_lr": 0.004}),
}  # fmt: skip


def rates_of_transformers(name, kwargs, warmup=WARMUP, steps=STEPS):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = get_scheduler(name, optimizer, warmup, steps, kwargs)
    rates = []
    for _ in range(steps + 1):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def rates(schedule, options, warmup=WARMUP, steps=STEPS):
    factor = learning_rate_factor(schedule, warmup, steps, LR, **options)
    return [LR * factor(step) for step in range(steps + 1)]


@pytest.mark.parametrize("name", PAIRS)
def test_after_the_warm_up_a_schedule_is_that_of_transformers(name):
    schedule, theirs, kwargs, options = PAIRS[name]
    expected = rates_of_transformers(theirs, kwargs)
    assert rates(schedule, options)[WARMUP:] == pytest.approx(expected[WARMUP:], rel=1e-9, abs=1e-12)
    by_name = rates(TransformersSchedule(theirs, kwargs), {})
    assert by_name[WARMUP:] == pytest.approx(expected[WARMUP:], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_the_warm_up_learns_from_its_first_step_on(name):
    schedule, _, _, options = PAIRS[name]
    assert rates(schedule, options)[: WARMUP + 1] == pytest.approx([LR * n / 5 for n in range(1, 6)])


def test_without_warm_up_both_begin_alike():
    assert rates(InverseSqrt(), {}, warmup=0) == pytest.approx(rates_of_transformers("inverse_sqrt", {}, warmup=0))
    assert rates(Linear(), {}, warmup=0) == pytest.approx(rates_of_transformers("linear", {}, warmup=0))


def test_a_warm_up_as_a_share_is_rounded_up_like_that_of_transformers():
    assert [warmup_steps(0, 0.1, steps) for steps in (10, 11, 100)] == [math.ceil(0.1 * n) for n in (10, 11, 100)]
    assert warmup_steps(3, 0.0, 100) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransformersSchedule("cosin"), "no schedule 'cosin'; did you mean 'cosine'"),
        (lambda: TransformersSchedule("reduce_lr_on_plateau"), "follows a metric, and morl's schedules the steps"),
        (lambda: TransformersSchedule("cosine", {"cycles": 2}), "schedule cosine refuses its kwargs: .*'cycles'"),
        (lambda: TransformersSchedule("constant", {"lr_end": 0.1}), "schedule constant takes no kwargs"),
        (lambda: TransformersSchedule("polynomial").for_run(1e-8, 0), "refuses its kwargs: .*must be smaller"),
        (lambda: WarmupStableDecay(1.5), "decay_ratio is a share of the run"),
    ],
)
def test_what_a_schedule_cannot_do_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
