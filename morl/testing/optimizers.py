"""The conformance checks of optimizers and of learning-rate schedules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from morl.optim.optimizer import build_optimizer
from morl.optim.schedule import learning_rate_factor
from morl.testing.parts import held, judged

LAWS = {
    "complete": "It makes a torch.optim.Optimizer that holds every trainable parameter once, and no other.",
    "descends": "Steps along the gradient of a convex function make it smaller.",
    "learning-rate": "Every step obeys the `lr` of its parameter group, which the schedule changes; with 0 none moves.",
    "frozen": "A parameter without a gradient stays as it is.",
    "independent": "Two optimizers of one builder know nothing of each other.",
    "resume": "An optimizer that is given the state of another continues bit for bit as it would have.",
}
SCHEDULE_LAWS = {
    "form": "The factor is a finite number of 0 or more, at every step of runs of any length, the last one included.",
    "pure": "The factor follows from step and steps alone: asked again, and in another order, it is the same.",
}
STEPS = 8


def check_optimizer(factory: Callable[[], Any], *, lr: float = 0.01, without: Collection[str] = ()) -> None:
    """Checks an optimizer on a model of a matrix, a vector and an embedding.

    The laws are `complete`, `descends`, `learning-rate`, `frozen`, `independent` and `resume`; see `LAWS`.

    Args:
        factory: makes the builder.
        lr: a learning rate at which it makes progress within a few steps.
        without: laws that it does not keep by design.

    Raises:
        LawBroken: the optimizer breaks a law, or raises where it should work.
        ConfigError: a law that does not exist.
    """
    for law, statement in held(LAWS, without).items():
        builder = factory()
        with judged(builder, law, statement):
            _CHECKS[law](builder, lr)


def check_schedule(factory: Callable[[], Any], *, without: Collection[str] = ()) -> None:
    """Checks a learning-rate schedule on runs of different lengths, with and without warm-up.

    Args:
        factory: makes the schedule.
        without: laws that it does not keep by design.

    Raises:
        LawBroken: the schedule breaks a law, `form` or `pure`, or raises where it should answer.
        ConfigError: a law that does not exist.
    """
    for law, statement in held(SCHEDULE_LAWS, without).items():
        schedule = factory()
        with judged(schedule, law, statement):
            for steps in (1, 2, 7, 100):
                for warmup in {0, 1, steps // 2}:
                    factor = learning_rate_factor(schedule, warmup, steps)
                    factors = [factor(step) for step in range(steps + 1)]
                    if law == "pure":
                        backwards = [factor(step) for step in reversed(range(steps + 1))]
                        assert factors == backwards[::-1], f"of {steps} steps: {factors}, then {backwards[::-1]}"


class _Model(nn.Module):
    """With a frozen parameter, as under LoRA."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> Tensor:
            return torch.rand(shape, generator=random) + 0.5

        self.matrix = nn.Parameter(drawn(6, 4))
        self.vector = nn.Parameter(drawn(4))
        self.embedding = nn.Parameter(drawn(5, 4))
        self.fixed = nn.Parameter(drawn(3, 3), requires_grad=False)

    def loss(self) -> Tensor:
        """A bowl with its bottom at 0."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.stack([(number + 1) * p.square().sum() for number, p in enumerate(trainable)]).sum()

    def values(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.named_parameters()}


def _step(model: _Model, optimizer: Optimizer) -> float:
    optimizer.zero_grad()
    loss = model.loss()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _complete(builder: Any, lr: float) -> None:
    build_optimizer(builder, _Model(), lr)


def _descends(builder: Any, lr: float) -> None:
    model = _Model()
    optimizer = build_optimizer(builder, model, lr)
    losses = [_step(model, optimizer) for _ in range(STEPS)] + [float(model.loss().detach())]
    assert losses[-1] < losses[0], f"losses {losses}"


def _learning_rate(builder: Any, lr: float) -> None:
    model = _Model()
    optimizer = build_optimizer(builder, model, lr)
    _step(model, optimizer)
    for group in optimizer.param_groups:
        assert "lr" in group, "a group of parameters has no `lr`"
        group["lr"] = 0.0
    before = model.values()
    _step(model, optimizer)
    moved = [name for name, value in model.values().items() if not torch.equal(value, before[name])]
    assert not moved, f"with lr 0 these moved: {', '.join(moved)}"
    for group in optimizer.param_groups:
        group["lr"] = lr
    _step(model, optimizer)
    still = [n for n, v in model.values().items() if torch.equal(v, before[n]) and n != "fixed"]
    assert not still, f"with lr {lr} again these stay: {', '.join(still)}"


def _frozen(builder: Any, lr: float) -> None:
    model = _Model()
    optimizer = build_optimizer(builder, model, lr)
    model.matrix.square().sum().backward()
    before = model.values()
    optimizer.step()
    moved = [name for name, value in model.values().items() if not torch.equal(value, before[name])]
    assert moved == ["matrix"], f"only `matrix` has a gradient; these moved: {', '.join(moved) or 'none'}"


def _independent(builder: Any, lr: float) -> None:
    first, second = _Model(), _Model()
    optimizers = [build_optimizer(builder, model, lr) for model in (first, second)]
    for _ in range(STEPS):
        _step(first, optimizers[0])
    for _ in range(STEPS):
        _step(second, optimizers[1])
    for name, value in first.values().items():
        assert torch.equal(value, second.values()[name]), f"{name} differs between two equal models"


def _resume(builder: Any, lr: float) -> None:
    model = _Model()
    optimizer = build_optimizer(builder, model, lr)
    for _ in range(3):
        _step(model, optimizer)
    other = copy.deepcopy(model)
    heir = build_optimizer(builder, other, lr)
    heir.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        _step(model, optimizer)
        _step(other, heir)
    for name, value in model.values().items():
        assert torch.equal(value, other.values()[name]), f"{name} differs after the state was handed over"


_CHECKS = {
    "complete": _complete,
    "descends": _descends,
    "learning-rate": _learning_rate,
    "frozen": _frozen,
    "independent": _independent,
    "resume": _resume,
}
