"""The kit of weightings: the right pass, and each known fault is caught."""

from __future__ import annotations

import pytest
import torch
from attrs import define, field
from catching import caught

from morl.advantage import ConstantWeighting
from morl.testing import check_weighting, weightings


@define
class Multiplier:
    """Of the family of Lagrangian multipliers: grows while a reward is below a limit."""

    limit: float = 0.5
    lambdas: dict[str, float] = field(factory=dict)

    def __call__(self, rewards):
        factors = [1.0 + self.lambdas.get(name, 0.0) for name in rewards.names]
        return rewards.weights_K * torch.tensor(factors, dtype=torch.float64)

    def update(self, rewards, advantages):
        for k, name in enumerate(rewards.names):
            present = rewards.values_BK[rewards.valid_BK[:, k], k].double()
            if len(present):
                below = self.limit - float(present.mean())
                self.lambdas[name] = max(0.0, self.lambdas.get(name, 0.0) + below)

    def state_dict(self):
        return {"lambdas": dict(self.lambdas)}

    def load_state_dict(self, state):
        self.lambdas = dict(state["lambdas"])


def far_from_the_ceiling(rewards):
    """SA-MRPO's factor, (1 - mean as a share of the range)^0.5."""
    low_K, high_K = rewards.bounds_K2.T
    shares = []
    for k in range(len(rewards.names)):
        present = rewards.values_BK[rewards.valid_BK[:, k], k].double().sort().values
        mean = present.mean() if len(present) else low_K[k]
        shares.append(((mean - low_K[k]) / (high_K[k] - low_K[k])).clamp(0, 1))
    return rewards.weights_K * (1 - torch.stack(shares)).sqrt()


@pytest.mark.parametrize("make", [ConstantWeighting, Multiplier, lambda: far_from_the_ceiling], ids=["0", "1", "2"])
def test_right_weightings_pass(make):
    check_weighting(make)


class AdaptsWhenAsked(Multiplier):
    def __call__(self, rewards):
        self.update(rewards, None)
        return super().__call__(rewards)


class Forgets(Multiplier):
    def load_state_dict(self, state):
        self.lambdas = {}


class Random(Multiplier):
    def update(self, rewards, advantages):
        self.lambdas["r0"] = float(torch.rand(()))


class HasOddState(Multiplier):
    def state_dict(self):
        return {"lambdas": dict(self.lambdas), "self": self}


class Unsaved:
    def __call__(self, rewards):
        return rewards.weights_K

    def update(self, rewards, advantages):
        pass


def writes(rewards):
    rewards.values_BK.zero_()
    return rewards.weights_K


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (lambda: lambda r: r.weights_K[:-1], "form"),
        (lambda: lambda r: r.weights_K / 0, "form"),
        (AdaptsWhenAsked, "pure"),
        (lambda: writes, "pure"),
        (lambda: lambda r: torch.arange(r.values_BK.numel()).view_as(r.values_BK).double(), "order"),
        (lambda: lambda r: r.weights_K * r.group_ids_B[0], "labels"),
        (lambda: lambda r: r.weights_K * r.values_BK.nan_to_num().double().sum(), "missing"),
        (Random, "update"),
        (Forgets, "state"),
        (HasOddState, "state"),
        (Unsaved, "state"),
    ],
)
def test_a_faulty_weighting_is_caught(make, law):
    caught(check_weighting, weightings.LAWS, law, make)
