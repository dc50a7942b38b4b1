"""The kits of weightings, rewards, losses, optimizers and schedules: the right pass, and each known fault is caught."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attrs import define, field

from morl.advantage import ConstantWeighting
from morl.errors import ConfigError
from morl.loss import CISPOLoss, ClippedLoss, GSPOLoss, GSPOTokenLoss, LUSPOLoss, SAPOLoss, VESPOLoss
from morl.optim.classes import TorchOptimizer
from morl.optim.low_memory import Adafactor
from morl.optim.muon import MuonAdamW
from morl.optim.optimizer import AdamW
from morl.optim.schedule import (
    Constant,
    Cosine,
    CosineWithRestarts,
    InverseSqrt,
    Linear,
    Polynomial,
    WarmupStableDecay,
)
from morl.optim.transformers_schedule import TransformersSchedule
from morl.reward import FunctionReward
from morl.reward.text import ExactMatchReward, LengthReward, RegexReward, TagsReward
from morl.testing import (
    LawBroken,
    check_optimizer,
    check_policy_loss,
    check_reward_provider,
    check_schedule,
    check_weighting,
    losses,
    optimizers,
    rewards,
    weightings,
)
from morl.types import Completion, Prompt, TokenLosses


def caught(check: Callable[..., None], laws: Any, law: str, part: Any, *arguments: Any, **options: Any) -> None:
    """The law catches the part, also with the others switched off."""
    with pytest.raises(LawBroken, match=f"breaks the law {law!r}: "):
        check(part, *arguments, without=set(laws) - {law}, **options)


# Weightings ----------------------------------------------------------------------------------------------------------


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


# Rewards -------------------------------------------------------------------------------------------------------------

PROMPT = Prompt("Say it.", {"answer": "yes", "numbers": [1, 2]})
COMPLETIONS = [Completion(PROMPT, text, tuple(range(len(text)))) for text in ("", "yes", "a <b>c</b>", "no no no")]


def vowels(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(sum(letter in "aeiou" for letter in text)) for text in completions]


class Several:
    reward_names = ("long", "short")
    reward_bounds = {"short": (0, 1)}  # noqa: RUF012 - an example of what authors write

    async def score(self, completions):
        lengths = [len(completion.text) for completion in completions]
        return {"long": lengths, "short": [1.0 / (1 + length) for length in lengths]}


@pytest.mark.parametrize(
    "make",
    [
        lambda: RegexReward("a"),
        lambda: TagsReward(["b"]),
        lambda: LengthReward(5),
        lambda: ExactMatchReward("answer"),
        lambda: FunctionReward(vowels),
        Several,
    ],
    ids=["regex", "tags", "length", "exact-match", "function", "several"],
)
def test_right_rewards_pass(make):
    check_reward_provider(make, COMPLETIONS)


def provider(score, **attributes):
    return lambda: type("Faulty", (), {"score": lambda self, completions: score(completions), **attributes})()


def fills_in(completions):
    for completion in completions:
        completion.prompt.columns["numbers"].append(3)
    return [0.0 for _ in completions]


@define
class Counts:
    calls: int = 0

    def score(self, completions):
        self.calls += 1
        return [float(self.calls) for _ in completions]


class CountsUnsaved(Counts):
    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = 0


class Shared:
    """Keeps what belongs to one call in itself."""

    def score(self, completions):
        import time

        self.scores = []
        for completion in completions:
            time.sleep(0.001)
            self.scores.append(float(len(completion.text)))
        return self.scores


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (provider(lambda c: [0.0] * len(c), reward_bounds=(1, 0)), "declared"),
        (provider(lambda c: [0.0] * len(c), required_columns=("absent",)), "declared"),
        (provider(lambda c: [0.0] * len(c), reward_names="abc"), "declared"),
        (provider(lambda c: [0.0]), "form"),
        (provider(lambda c: [1 / len(x.text) for x in c]), "form"),
        (provider(lambda c: ["good" for _ in c]), "form"),
        (provider(lambda c: [ValueError("no") for _ in c]), "form"),
        (provider(lambda c: [float(len(x.text)) for x in c], reward_bounds=(0, 3)), "bounds"),
        (provider(fills_in), "pure"),
        (Counts, "repeatable"),
        (provider(lambda c: [float(row) for row, _ in enumerate(c)]), "order"),
        (provider(lambda c: [float(len(c)) for _ in c]), "alone"),
        (Shared, "threads"),
        (CountsUnsaved, "state"),
    ],
)
def test_a_faulty_reward_is_caught(make, law):
    caught(check_reward_provider, rewards.LAWS, law, make, COMPLETIONS)


def test_completions_that_would_show_little_are_refused():
    for few in (COMPLETIONS[:1], COMPLETIONS[1:]):
        with pytest.raises(ValueError, match="two or more completions, one of them with an empty text"):
            check_reward_provider(Several, few)


# Losses --------------------------------------------------------------------------------------------------------------


class Reinforce:
    needs_reference, aggregation = False, "token-mean"

    def __call__(self, batch):
        return TokenLosses(-batch.advantages_T * batch.policy_logprobs_T, {"logprob": batch.policy_logprobs_T.detach()})


class OwnAggregation(Reinforce):
    @staticmethod
    def aggregation(lengths_B, max_tokens):
        return 1 / lengths_B.sqrt() / max_tokens


class Sequence(Reinforce):
    """The ratio of the whole completion (GSPO), which needs all its tokens in one micro-batch."""

    def __call__(self, batch):
        logs = batch.policy_logprobs_T - batch.old_logprobs_T
        number = int(batch.rows_T.max()) + 1
        sums = torch.zeros(number).index_add(0, batch.rows_T, logs)
        lengths = torch.zeros(number).index_add(0, batch.rows_T, torch.ones_like(logs))
        return TokenLosses(-batch.advantages_T * (sums / lengths).exp()[batch.rows_T])


@pytest.mark.parametrize(
    ("make", "claims"),
    [
        (ClippedLoss, ["policy-gradient"]),
        (lambda: ClippedLoss(kl_coef=0.1), ["policy-gradient"]),
        (lambda: ClippedLoss(kl_coef=0.1, kl_estimator="k2", aggregation="dr-grpo"), ["policy-gradient"]),
        (lambda: ClippedLoss(kl_coef=0.1, kl_estimator="k1", aggregation="sequence-sum"), ["policy-gradient"]),
        (lambda: ClippedLoss(kl_coef=0.1, kl_unbiased=True, delta=1.5), ["policy-gradient"]),
        (lambda: ClippedLoss(off_policy_threshold=0.1, top_entropy=0.5), ["policy-gradient"]),
        (lambda: GSPOLoss(clip_low=0.1, clip_high=0.3, delta=1.5), ["policy-gradient"]),
        (lambda: GSPOTokenLoss(clip_low=0.1, clip_high=0.3, kl_coef=0.1), ["policy-gradient"]),
        (lambda: LUSPOLoss(clip_low=0.1, clip_high=0.3, off_policy_threshold=0.1), ["policy-gradient"]),
        (CISPOLoss, ["policy-gradient"]),
        (lambda: CISPOLoss(max_ratio=1.2, min_ratio=0.8, top_entropy=0.5, kl_coef=0.1), ["policy-gradient"]),
        (SAPOLoss, ["policy-gradient"]),
        (lambda: SAPOLoss(kl_coef=0.1, kl_unbiased=True, kl_estimator="k3"), ["policy-gradient"]),
        (VESPOLoss, []),
        (Reinforce, ["policy-gradient"]),
        (Sequence, ["policy-gradient"]),
        (OwnAggregation, ["policy-gradient"]),
    ],
    ids=[
        *("clipped", "kl", "k2", "k1", "unbiased", "masks", "gspo", "gspo-token", "luspo", "cispo", "cispo-options"),
        *("sapo", "sapo-kl", "vespo", "reinforce", "sequence", "own-aggregation"),
    ],
)
def test_right_losses_pass(make, claims):
    check_policy_loss(make, claims=claims)


def loss(function, **attributes):
    named = {"needs_reference": False, "aggregation": "token-mean", **attributes}
    return lambda: type("Faulty", (), {"__call__": lambda self, batch: function(batch), **named})()


def reinforce(batch):
    return Reinforce()(batch)


def scribbles(batch):
    batch.advantages_T.mul_(0.5)
    return reinforce(batch)


def keeps_the_graph(batch):
    return TokenLosses(-batch.advantages_T * batch.policy_logprobs_T, {"logprob": batch.policy_logprobs_T})


class Drifts(Reinforce):
    scale = 1.0

    def __call__(self, batch):
        self.scale *= 1.5
        return TokenLosses(-self.scale * batch.advantages_T * batch.policy_logprobs_T)


class DriftsUnsaved(Drifts):
    def state_dict(self):
        return {"scale": self.scale}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (loss(reinforce, aggregation="mean"), "declared"),
        (loss(reinforce, needs_reference=None), "declared"),
        (loss(lambda b: -b.advantages_T * b.policy_logprobs_T), "form"),
        (loss(lambda b: TokenLosses((b.advantages_T * b.policy_logprobs_T).mean())), "form"),
        (loss(lambda b: TokenLosses(b.policy_logprobs_T / 0)), "form"),
        (loss(keeps_the_graph), "form"),
        (loss(lambda b: TokenLosses(b.policy_logprobs_T - b.ref_logprobs_T)), "form"),
        (loss(lambda b: TokenLosses(-b.advantages_T * b.policy_logprobs_T.detach())), "gradient"),
        (loss(lambda b: TokenLosses(b.policy_logprobs_T.log().nan_to_num())), "gradient"),
        (loss(scribbles), "pure"),
        (Drifts, "pure"),
        (loss(lambda b: TokenLosses(b.policy_logprobs_T / len(b.rows_T))), "alone"),
        (loss(lambda b: TokenLosses(b.policy_logprobs_T * (1 + b.rows_T))), "alone"),
        (DriftsUnsaved, "state"),
    ],
)
def test_a_faulty_loss_is_caught(make, law):
    caught(check_policy_loss, losses.LAWS, law, make)


def test_a_false_claim_of_a_loss_is_caught():
    with pytest.raises(LawBroken, match="breaks the law 'policy-gradient'"):
        check_policy_loss(
            loss(lambda b: TokenLosses(b.advantages_T * b.policy_logprobs_T)),
            claims=["policy-gradient"],
            without=losses.LAWS,
        )
    with pytest.raises(ConfigError, match="unknown law 'policy-gradien'; did you mean 'policy-gradient'"):
        check_policy_loss(Reinforce, claims=["policy-gradien"])


# Optimizers and schedules --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        (check_weighting, ()),
        (check_reward_provider, (COMPLETIONS,)),
        (check_policy_loss, ()),
        (check_optimizer, ()),
        (check_schedule, ()),
    ],
)
def test_an_unknown_law_is_refused(check, arguments):
    with pytest.raises(ConfigError, match="unknown law 'pur'"):
        check(Several, *arguments, without=["pur"])
