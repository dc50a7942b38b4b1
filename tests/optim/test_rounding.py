"""Optimizer steps on bfloat16 weights: right on average, the same for a seed, and resumed exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from morl.optim.rounding import StochasticRounding, rounded

STEPS, LR = 20, 1e-6


def weights(dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter((0.02 * torch.randn(20_000, generator=torch.Generator().manual_seed(0))).to(dtype))


def trained(parameter: nn.Parameter, rounding: bool, steps: int = STEPS) -> torch.optim.Optimizer:
    """Adam under a gradient of +1, which moves every weight by `LR` per step."""
    optimizer = torch.optim.AdamW([parameter], lr=LR, weight_decay=0.0)
    stochastic = StochasticRounding(optimizer) if rounding else None
    for step in range(steps):
        if stochastic is not None:
            stochastic.begin(step)
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def test_small_updates_arrive_on_average() -> None:
    start = weights(torch.bfloat16).detach().float()
    lost, kept, exact = weights(torch.bfloat16), weights(torch.bfloat16), weights(torch.float32)
    trained(lost, rounding=False)
    trained(kept, rounding=True)
    exact.data = start.clone()
    trained(exact, rounding=False)
    moved = (exact.detach() - start).mean()
    assert moved.item() == pytest.approx(-STEPS * LR, rel=0.01)
    assert kept.dtype == torch.bfloat16
    # The deviation of a mean of 20,000 weights, each rounded 20 times by at most a spacing of 1e-4, is below 3e-6.
    assert (kept.detach().float() - start).mean().item() == pytest.approx(moved.item(), abs=5e-6)
    assert (lost.detach().float() - start).mean().abs() < 0.3 * moved.abs(), "what is mended here"


def test_rounding_keeps_what_bfloat16_holds_and_what_is_not_finite() -> None:
    generator = torch.Generator().manual_seed(0)
    held = torch.tensor([0.0, 1.0, -2.5, float("inf"), float("-inf"), float("nan")])
    torch.testing.assert_close(rounded(held, generator).float(), held, equal_nan=True, atol=0, rtol=0)
    # NaN with every bit set, which any noise would carry over.
    full = torch.tensor([0x7FFFFFFF, -1], dtype=torch.int32).view(torch.float32).repeat(1000)
    assert rounded(full, generator).isnan().all()
    values = torch.tensor([-1 - 2**-9]).expand(10_000).contiguous()
    down = rounded(values, generator).float()
    assert set(down.unique().tolist()) == {-1.0, -1.0078125}
    assert down.mean().item() == pytest.approx(values[0].item(), abs=2e-4)


def test_a_seed_decides_and_states_survive_a_checkpoint() -> None:
    one, other = weights(torch.bfloat16), weights(torch.bfloat16)
    optimizer = trained(one, rounding=True)
    trained(other, rounding=True)
    assert torch.equal(one, other)
    saved = copy.deepcopy(optimizer.state_dict())

    resumed = nn.Parameter(one.detach().clone())
    again = torch.optim.AdamW([resumed], lr=LR, weight_decay=0.0)
    rounding = StochasticRounding(again)
    again.load_state_dict(saved)
    assert resumed.dtype == torch.bfloat16
    assert torch.equal(resumed, one)
    assert again.state[resumed]["exp_avg"].dtype == torch.float32
    assert torch.equal(again.state[resumed]["exp_avg"], optimizer.state[one]["exp_avg"])
    rounding.begin(99)
    resumed.grad = torch.ones_like(resumed)
    again.step()
    assert resumed.dtype == torch.bfloat16


def test_a_step_draws_by_its_seed_alone_whatever_was_drawn_before() -> None:
    whole, resumed = weights(torch.bfloat16), weights(torch.bfloat16)
    trained(whole, rounding=True, steps=2)
    saved = copy.deepcopy(trained(resumed, rounding=True, steps=1).state_dict())
    again = torch.optim.AdamW([resumed], lr=LR, weight_decay=0.0)
    rounding = StochasticRounding(again)
    again.load_state_dict(saved)
    rounding.begin(1)
    resumed.grad = torch.ones_like(resumed)
    again.step()
    assert torch.equal(whole, resumed)


def test_an_interrupted_step_can_be_abandoned() -> None:
    class Interrupted(torch.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            raise KeyboardInterrupt

    parameter = weights(torch.bfloat16)
    before = parameter.detach().clone()
    parameter.grad = torch.ones_like(parameter)
    optimizer = Interrupted([parameter], lr=1.0)
    rounding = StochasticRounding(optimizer)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert optimizer.param_groups[0]["params"][0] is not parameter
    rounding.abandon()
    assert optimizer.param_groups[0]["params"][0] is parameter
    assert torch.equal(parameter.grad, torch.ones_like(before))
    assert parameter.dtype == torch.bfloat16
    assert torch.equal(parameter, before)


def test_float32_weights_are_left_to_the_optimizer() -> None:
    plain, wrapped = weights(torch.float32), weights(torch.float32)
    trained(plain, rounding=False)
    trained(wrapped, rounding=True)
    assert torch.equal(plain, wrapped)


def test_what_hears_of_gradients_hears_of_them_after_a_step() -> None:
    """DDP hangs itself on the node of the graph that adds up a weight's gradient; another one is not averaged."""
    parameter = weights(torch.bfloat16)
    heard = []
    node = parameter.expand_as(parameter).grad_fn.next_functions[0][0]
    node.register_hook(lambda *gradients: heard.append(1))
    for step in range(1, 4):
        trained(parameter, rounding=True, steps=1)
        parameter.sum().backward()
        assert len(heard) == step
