"""The kits of optimizers and schedules: the right pass, and each known fault is caught."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from catching import caught

from morl.optim.classes import TorchOptimizer
from morl.optim.low_memory import Adafactor
from morl.optim.muon import MuonAdamW
from morl.optim.optimizer import AdamW
from morl.optim.schedule import Constant, Cosine, CosineWithRestarts, InverseSqrt, Linear, Polynomial, WarmupStableDecay
from morl.optim.transformers_schedule import TransformersSchedule
from morl.testing import check_optimizer, check_schedule, optimizers


def sgd(parameters, lr):
    return torch.optim.SGD([parameter for _, parameter in parameters], lr=lr, momentum=0.9)


@pytest.mark.parametrize(
    "make",
    [
        AdamW,
        lambda: AdamW(betas=(0.8, 0.9), weight_decay=0.1),
        lambda: AdamW(weight_decay=0.1, decay="matrices"),
        Adafactor,
        MuonAdamW,
        lambda: TorchOptimizer("SGD", {"momentum": 0.9}),
        lambda: sgd,
    ],
    ids=["adamw", "options", "matrices", "adafactor", "muon", "torch", "sgd"],
)
def test_right_optimizers_pass(make):
    check_optimizer(make)


class KeepsLr(torch.optim.SGD):
    """Reads the learning rate once."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.data.sub_(0.01 * parameter.grad)


class Climbs(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.data.add_(group["lr"] * parameter.grad)


class DecaysAll(torch.optim.SGD):
    def step(self, closure=None):
        super().step()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(1 - 0.1 * group["lr"])


class Restless(torch.optim.SGD):
    """Counts outside its state."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr)
        self.count = 0

    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.data.sub_(group["lr"] / self.count * parameter.grad)


def built(make):
    return lambda: lambda parameters, lr: make([parameter for _, parameter in parameters], lr=lr)


def one_for_all():
    """Momenta that outlive the optimizer."""
    momenta: dict[str, Any] = {}

    def builder(parameters, lr):
        class Optimizer(torch.optim.SGD):
            def step(self, closure=None):
                for name, parameter in parameters:
                    if parameter.grad is not None:
                        momenta[name] = 0.9 * momenta.get(name, 0.0) + parameter.grad
                        parameter.data.sub_(self.param_groups[0]["lr"] * momenta[name])

        return Optimizer([parameter for _, parameter in parameters], lr=lr)

    return builder


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (lambda: lambda parameters, lr: None, "complete"),
        (lambda: lambda parameters, lr: sgd(parameters[1:], lr), "complete"),
        (lambda: lambda parameters, lr: sgd([*parameters, ("x", torch.nn.Parameter(torch.ones(1)))], lr), "complete"),
        (built(Climbs), "descends"),
        (built(KeepsLr), "learning-rate"),
        (built(DecaysAll), "frozen"),
        (one_for_all, "independent"),
        (built(Restless), "resume"),
    ],
)
def test_a_faulty_optimizer_is_caught(make, law):
    caught(check_optimizer, optimizers.LAWS, law, make)


@pytest.mark.parametrize(
    "make",
    [
        *(Constant, Linear, Cosine, CosineWithRestarts, Polynomial, InverseSqrt, WarmupStableDecay),
        lambda: TransformersSchedule("cosine_with_min_lr", {"min_lr_rate": 0.1}),
        lambda: lambda step, steps: 0.5,
    ],
)
def test_right_schedules_pass(make):
    check_schedule(make)


class Stepwise:
    def __init__(self):
        self.factor = 1.0

    def __call__(self, step, steps):
        self.factor *= 0.9
        return self.factor


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (lambda: lambda step, steps: 1 - 1.1 * step / max(steps, 1), "form"),
        (lambda: lambda step, steps: math.inf, "form"),
        (lambda: lambda step, steps: 1 / (steps - step), "form"),
        (lambda: lambda step, steps: None, "form"),
        (Stepwise, "pure"),
    ],
)
def test_a_faulty_schedule_is_caught(make, law):
    caught(check_schedule, optimizers.SCHEDULE_LAWS, law, make)
