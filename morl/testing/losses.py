"""The conformance check of policy losses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, get_args

import torch
from attrs import fields
from torch import Tensor

from morl.errors import ConfigError, suggest
from morl.testing.parts import held, judged, restored
from morl.types import Aggregation, CompletionStatus, TokenBatch, TokenLosses

LAWS = {
    "declared": "`needs_reference` is true or false, `aggregation` one that morl knows, or a function of lengths.",
    "form": "The answer is TokenLosses, one finite loss per token and detached per-token metrics.",
    "gradient": "A finite gradient, not 0 everywhere, reaches the log-probabilities of the policy.",
    "pure": "Asking twice gives the same losses; the batch is not written to.",
    "alone": "The tokens of a completion have the same losses whichever completions share their micro-batch.",
    "state": "What remembers something has a state of plain values, which another one takes over.",
}
CLAIMS = {
    "policy-gradient": "Where policy, old policy and reference agree, each token's gradient is minus its advantage.",
}
LENGTHS = (3, 1, 5, 2)


def check_policy_loss(
    factory: Callable[[], Any], *, claims: Collection[str] = (), without: Collection[str] = ()
) -> None:
    """Checks a policy loss on batches of a few completions, on and off policy.

    The laws are `declared`, `form`, `gradient`, `pure`, `alone` and `state`, to which a loss may claim
    `policy-gradient`; see `LAWS` and `CLAIMS`.

    Args:
        factory: makes the loss.
        claims: laws that it claims besides.
        without: laws that it does not keep by design.

    Raises:
        LawBroken: the loss breaks a law, or raises where it should answer.
        ConfigError: a law that does not exist.
    """
    for name in claims:
        if name not in CLAIMS:
            raise ConfigError(f"unknown law {name!r}{suggest(name, CLAIMS)}; there are: {', '.join(CLAIMS)}")
    for law, statement in {**held(LAWS, without), **{name: CLAIMS[name] for name in claims}}.items():
        loss = factory()
        with judged(loss, law, statement):
            _CHECKS[law](factory, loss)


def token_batch(
    rows: Sequence[int] = range(len(LENGTHS)),
    *,
    apart: float = 0.3,
    reference: bool = True,
    seed: int = 0,
    top_entropy: bool = False,
) -> TokenBatch:
    """A micro-batch of these of four completions, the policy `apart` from the old one in log-probability."""
    random = torch.Generator().manual_seed(seed)
    total = sum(LENGTHS)
    old_T = -3 * torch.rand(total, generator=random) - 0.1
    policy_T = (old_T + apart * (2 * torch.rand(total, generator=random) - 1)).clamp(max=-1e-3)
    rollout_T = old_T + 1e-3 * torch.rand(total, generator=random)
    ref_T = (old_T + 2 * apart * (torch.rand(total, generator=random) - 0.5)).clamp(max=-1e-3)
    advantages_B = torch.tensor([1.5, -0.5, 0.0, -2.0])
    row_T = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    chosen = torch.cat([(row_T == row).nonzero()[:, 0] for row in rows])
    counted = torch.arange(len(rows)).repeat_interleave(torch.tensor([LENGTHS[row] for row in rows]))
    lengths = [LENGTHS[row] for row in rows]
    return TokenBatch(
        policy_logprobs_T=policy_T[chosen].clone().requires_grad_(),
        old_logprobs_T=old_T[chosen],
        rollout_logprobs_T=rollout_T[chosen],
        advantages_T=advantages_B[row_T][chosen],
        rows_T=counted,
        ref_logprobs_T=ref_T[chosen] if reference else None,
        entropy_T=-old_T[chosen],
        lengths_B=torch.tensor(lengths),
        truncated_B=torch.tensor([length == max(LENGTHS) for length in lengths]),
        statuses=tuple(
            CompletionStatus.TRUNCATED if length == max(LENGTHS) else CompletionStatus.COMPLETED for length in lengths
        ),
        top_entropy_T=-old_T[chosen] >= -old_T.median() if top_entropy else None,
    )


def _batches(loss: Any) -> list[TokenBatch]:
    reference, top = bool(loss.needs_reference), _wants_top(loss)
    return [
        token_batch(apart=apart, reference=reference, seed=seed, top_entropy=top)
        for seed, apart in enumerate((0.0, 0.3, 2.0))
    ]


def _wants_top(loss: Any) -> bool:
    return float(getattr(loss, "top_entropy", 1.0)) < 1


def _declared(factory: Callable[[], Any], loss: Any) -> None:
    assert isinstance(loss.needs_reference, bool), f"needs_reference is {loss.needs_reference!r}"
    known = get_args(Aggregation)
    if not callable(loss.aggregation):
        assert loss.aggregation in known, f"aggregation is {loss.aggregation!r}; expected one of {', '.join(known)}"
        return
    weights = loss.aggregation(torch.tensor(LENGTHS), 8)
    assert isinstance(weights, Tensor), f"aggregation returns {type(weights).__name__}; expected a tensor"
    assert weights.shape == (len(LENGTHS),), f"aggregation returns {tuple(weights.shape)}; expected a weight each"
    assert weights.isfinite().all(), f"aggregation returns {weights.tolist()}"


def _form(factory: Callable[[], Any], loss: Any) -> None:
    for batch in _batches(loss):
        answer = loss(batch)
        assert isinstance(answer, TokenLosses), f"it returned {type(answer).__name__}"
        shape = batch.rows_T.shape
        for name, values in {"values_T": answer.values_T, **answer.metrics}.items():
            assert isinstance(values, Tensor), f"{name} is a {type(values).__name__}; expected a tensor"
            assert values.shape == shape, f"{name} has the shape {tuple(values.shape)}; expected {tuple(shape)}"
            assert values.isfinite().all(), f"{name} is {values.tolist()}"
        for name, values in answer.metrics.items():
            assert not values.requires_grad, f"the metric {name} is not detached"


def _gradient(factory: Callable[[], Any], loss: Any) -> None:
    for batch in _batches(loss):
        loss(batch).values_T.sum().backward()
        gradient = batch.policy_logprobs_T.grad
        assert gradient is not None, "no gradient reaches the policy"
        assert gradient.isfinite().all(), f"the gradient is {gradient.tolist()}"
        assert gradient.any(), "the gradient is 0 everywhere"


def _pure(factory: Callable[[], Any], loss: Any) -> None:
    for batch in _batches(loss):
        names = [field.name for field in fields(TokenBatch) if isinstance(getattr(batch, field.name), Tensor)]
        before = {name: getattr(batch, name).detach().clone() for name in names}
        first = loss(batch).values_T.detach().clone()
        assert torch.equal(first, loss(batch).values_T.detach()), "the second answer differs from the first"
        for name in names:
            assert torch.equal(getattr(batch, name).detach(), before[name]), f"{name} was written to"


def _alone(factory: Callable[[], Any], loss: Any) -> None:
    given: Any = {"reference": bool(loss.needs_reference), "top_entropy": _wants_top(loss)}
    for seed, apart in enumerate((0.0, 0.3, 2.0)):
        whole = loss(token_batch(apart=apart, seed=seed, **given)).values_T.detach()
        for rows in ((0,), (1,), (2,), (3,), (3, 1), (2, 0)):
            part = loss(token_batch(rows, apart=apart, seed=seed, **given)).values_T.detach()
            starts = [sum(LENGTHS[:row]) for row in rows]
            expected = torch.cat([whole[s : s + LENGTHS[row]] for s, row in zip(starts, rows, strict=True)])
            assert torch.allclose(part, expected, rtol=1e-5, atol=1e-6), (
                f"completions {list(rows)} by themselves: expected {expected.tolist()}, got {part.tolist()}"
            )


def _state(factory: Callable[[], Any], loss: Any) -> None:
    if not hasattr(loss, "state_dict"):
        return
    for batch in _batches(loss):
        loss(batch)
    other, batch = restored(factory, loss), _batches(loss)[1]
    assert torch.equal(loss(batch).values_T, other(batch).values_T), "another one with its state answers otherwise"


def _policy_gradient(factory: Callable[[], Any], loss: Any) -> None:
    batch = token_batch(apart=0.0, reference=bool(loss.needs_reference))
    loss(batch).values_T.sum().backward()
    gradient = batch.policy_logprobs_T.grad
    assert gradient is not None, "no gradient reaches the policy"
    assert torch.allclose(gradient, -batch.advantages_T, rtol=1e-5, atol=1e-6), (
        f"expected {(-batch.advantages_T).tolist()}, got {gradient.tolist()}"
    )


_CHECKS = {
    "declared": _declared,
    "form": _form,
    "gradient": _gradient,
    "pure": _pure,
    "alone": _alone,
    "state": _state,
    "policy-gradient": _policy_gradient,
}
