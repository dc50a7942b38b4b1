"""Conditioned rewards: semantics, chains, what is refused, and the factory that the registry uses."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
import torch
from attrs import evolve, field, frozen
from jsonargparse import ArgumentParser

from morl.advantage import GDPO, GRPO, Condition, Conditioned, GRPONoStd
from morl.advantage.conditioned import conditioned_factory
from morl.errors import ConfigError
from morl.plugins import Registry
from morl.types import Advantages, RewardMatrix

NAN = float("nan")


def rewards(**columns: Sequence[float]) -> RewardMatrix:
    """One group, one column per reward."""
    values = torch.tensor(list(columns.values()), dtype=torch.float64).T
    return RewardMatrix(values, torch.zeros(len(values), dtype=torch.int64), tuple(columns))


def transformed(conditions: Mapping[str, Any], **columns: Sequence[float]) -> dict[str, list[float | None]]:
    """What the inner estimator sees; None = missing."""
    seen = Conditioned(GRPONoStd(), conditions).transform(rewards(**columns))
    return {
        name: [v if ok else None for v, ok in zip(values, valid, strict=True)]
        for name, values, valid in zip(seen.names, seen.values_BK.T.tolist(), seen.valid_BK.T.tolist(), strict=True)
    }


def test_a_reward_counts_only_where_its_condition_holds() -> None:
    seen = transformed({"short": {"on": "correct"}}, correct=[0, 1, 0, 1], short=[1, 1, 0, 0])
    assert seen == {"correct": [0, 1, 0, 1], "short": [0, 1, 0, 0]}


def test_the_threshold_is_reached_by_equality() -> None:
    seen = transformed({"short": {"on": "share", "at_least": 0.5}}, share=[0.49, 0.5, 0.51], short=[1, 1, 1])
    assert seen["short"] == [0, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_threshold_is_compared_in_the_dtype_of_the_scores(dtype: torch.dtype) -> None:
    matrix = RewardMatrix.from_groups(torch.tensor([[[0.7, 1.0], [0.6, 1.0]]], dtype=dtype))
    seen = Conditioned(GRPONoStd(), {"r1": Condition("r0", 0.7)}).transform(matrix)
    assert seen.values_BK[:, 1].tolist() == [1, 0]


def test_the_threshold_may_be_negative() -> None:
    seen = transformed({"short": {"on": "correct", "at_least": -1.0}}, correct=[-3, -1, 3], short=[1, 1, 1])
    assert seen["short"] == [0, 1, 1]


def test_a_chain_needs_every_link() -> None:
    chain = {"style": {"on": "short"}, "short": {"on": "correct"}}
    expected = {"correct": [0, 1, 1, 1], "short": [0, 0, 1, 1], "style": [0, 0, 0, 1]}
    columns = {"style": [1, 1, 0, 1], "short": [1, 0, 1, 1], "correct": [0, 1, 1, 1]}
    for conditions in (chain, dict(reversed(chain.items()))):
        assert transformed(conditions, **columns) == expected


def test_in_a_chain_a_zeroed_reward_satisfies_no_threshold_not_even_a_negative_one() -> None:
    """quality = -1 is zeroed where the answer is wrong; that 0 must not count as at least -2."""
    chain = {"short": {"on": "quality", "at_least": -2.0}, "quality": {"on": "correct"}}
    seen = transformed(chain, correct=[0, 1, 1], quality=[-1, -1, -3], short=[1, 1, 1])
    assert seen["quality"] == [0, -1, -3]
    assert seen["short"] == [0, 1, 0]


def test_what_hangs_on_a_missing_reward_is_missing() -> None:
    chain = {"style": {"on": "short"}, "short": {"on": "correct"}}
    seen = transformed(chain, correct=[NAN, 1, 1], short=[1, NAN, 1], style=[1, 1, NAN])
    assert seen["short"] == [None, None, 1]
    assert seen["style"] == [None, None, None]


def test_a_missing_reward_stays_missing() -> None:
    assert transformed({"b": {"on": "a"}}, a=[0, 1], b=[NAN, NAN])["b"] == [None, None]


def test_the_given_rewards_stay_as_they_were() -> None:
    given = rewards(a=[0.0, 1.0], b=[1.0, 1.0])
    Conditioned(GRPONoStd(), {"b": {"on": "a"}})(given)
    assert given.values_BK.tolist() == [[0, 1], [1, 1]]
    assert given.valid_BK.all()


def test_weights_and_lengths_reach_the_inner_estimator() -> None:
    def inner(seen: RewardMatrix) -> Advantages:
        assert seen.weights == {"b": 0.5}
        assert seen.lengths_B is lengths
        return Advantages(seen.values_BK[:, 1], seen.values_BK)

    lengths = torch.tensor([3, 4])
    matrix = RewardMatrix(
        torch.tensor([[0.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 0]), ("a", "b"), {"b": 0.5}, lengths_B=lengths
    )
    assert Conditioned(inner, {"b": {"on": "a"}})(matrix).values_B.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({}, "a conditioned estimator needs conditions, such as"),
        ([], r"conditions must map reward names to conditions; got \[\]"),
        ({"b": "a"}, "the condition of reward 'b' must be {on: <reward>, at_least: <number>}.*; got 'a'"),
        ({"b": {"at_least": 1}}, "the condition of reward 'b' must be"),
        ({"b": {"on": "a", "above": 1}}, "the condition of reward 'b' must be"),
        ({"b": {"on": 1}}, "`on` of a condition must be the name of a reward; got 1"),
        ({"b": {"on": "a", "at_least": "high"}}, "at_least of a condition must be a finite number; got 'high'"),
        ({"b": {"on": "a", "at_least": NAN}}, "at_least of a condition must be a finite number; got nan"),
        ({"b": {"on": "a", "at_least": True}}, "at_least of a condition must be a finite number; got True"),
        ({"b": {"on": "b"}}, "conditions form a cycle: b on b"),
        ({"x": {"on": "a"}, "a": {"on": "b"}, "b": {"on": "a"}}, "conditions form a cycle: a on b on a"),
    ],
)
def test_conditions_that_cannot_be_decided_are_refused(conditions: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Conditioned(GDPO(), conditions)


def test_unknown_rewards_are_refused_before_training() -> None:
    estimator = Conditioned(GDPO(), {"lenght": {"on": "correct"}})
    with pytest.raises(
        ConfigError, match=r"unknown reward 'lenght'; did you mean 'length'\?; rewards: length, correct"
    ):
        estimator.check_rewards(["length", "correct"])
    estimator = Conditioned(GDPO(), {"length": {"on": "corect"}})
    with pytest.raises(ConfigError, match="condition of 'length': unknown reward 'corect'; did you mean 'correct'"):
        estimator.check_rewards(["length", "correct"])
    with pytest.raises(ConfigError, match="unknown reward 'corect'"):
        estimator(rewards(length=[1.0], correct=[1.0]))


def test_the_inner_estimator_is_asked_about_the_rewards_too() -> None:
    nested = Conditioned(Conditioned(GDPO(), {"a": {"on": "zzz"}}), {"b": {"on": "a"}})
    with pytest.raises(ConfigError, match="unknown reward 'zzz'"):
        nested.check_rewards(["a", "b"])


# The factory ---------------------------------------------------------------------------------------------------------


def _texts(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(given)


@frozen
class Scaled:
    """A third party's estimator.

    Args:
        factor: what the advantages are multiplied by.
        kinds: a type that only the defining module can resolve.
    """

    factor: float
    kinds: Sequence[str] = field(default=("x",), converter=_texts)

    def __call__(self, rewards: RewardMatrix) -> Advantages:
        answer = GRPONoStd()(rewards)
        return Advantages(answer.values_B * self.factor, answer.contributions_BK * self.factor)


def scaled(factor: float = 2.0, **extra: Any) -> Scaled:
    return Scaled(factor, **extra)


def test_the_factory_has_the_options_of_both() -> None:
    parameters = inspect.signature(conditioned_factory(GDPO)).parameters
    assert list(parameters) == ["conditions", *(field.name for field in attrs.fields(GDPO))]
    assert parameters["conditions"].annotation == Mapping[str, Condition]
    assert parameters["conditions"].default is inspect.Parameter.empty
    assert parameters["ddof"].annotation is int
    assert parameters["ddof"].default == GDPO().ddof
    assert inspect.signature(conditioned_factory(Scaled)).parameters["kinds"].annotation == Sequence[str]
    assert list(inspect.signature(conditioned_factory(scaled)).parameters) == ["conditions", "factor", "extra"]


def test_the_factory_builds_a_conditioned_estimator() -> None:
    conditions = {"b": {"on": "a"}}
    assert conditioned_factory(GRPO)(conditions=conditions, eps=0) == Conditioned(GRPO(eps=0), conditions)
    assert conditioned_factory(scaled)(conditions=conditions, kinds=("y",)).inner == Scaled(2.0, ("y",))


def test_an_option_that_the_inner_estimator_lacks_is_refused() -> None:
    with pytest.raises(TypeError, match="epsilon"):
        conditioned_factory(GRPO)(conditions={"b": {"on": "a"}}, epsilon=0)


def test_an_inner_estimator_with_conditions_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigError, match="Conditioned has an option 'conditions' of its own"):
        conditioned_factory(Conditioned)


@pytest.mark.parametrize(
    ("inner", "arguments", "expected"),
    [
        (GDPO, ["--estimator.batch_norm", "false"], GDPO(batch_norm=False)),
        (GRPO, ["--estimator.eps", "0.5", "--estimator.ddof", "0"], GRPO(eps=0.5, ddof=0)),
        (GRPONoStd, [], GRPONoStd()),
        (Scaled, ["--estimator.factor", "3"], Scaled(3.0)),
        (scaled, ["--estimator.factor", "3"], Scaled(3.0)),
    ],
)
def test_jsonargparse_reads_the_options_of_both(inner: Any, arguments: list[str], expected: Any) -> None:
    factory = conditioned_factory(inner)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(factory, "estimator", skip={"weighting"})
    conditions = [
        "--estimator.conditions", '{"short": {"on": "correct", "at_least": 0.5}}',
        "--estimator.conditions.short.at_least", "0.25",
    ]  # fmt: skip
    options = parser.instantiate(parser.parse_args([*conditions, *arguments])).estimator
    assert factory(**options) == Conditioned(expected, {"short": Condition("correct", 0.25)})


def test_help_describes_the_options_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    for inner, words in (
        (GDPO, "added to the standard deviation of the batch"),
        (Scaled, "what the advantages are multiplied by"),
    ):
        parser = ArgumentParser(exit_on_error=False)
        parser.add_function_arguments(conditioned_factory(inner), "estimator", skip={"weighting"})
        text = " ".join(parser.format_help().split())
        assert "condition `{on: <reward>, at_least: <number>}`" in text
        assert words in text


def test_every_registered_estimator_can_be_conditioned() -> None:
    registry = Registry(discover=False)
    for part in registry.names("advantage estimator"):
        factory = registry.find("advantage estimator", f"conditioned-{part.name}").load()
        assert isinstance(factory(conditions={"b": {"on": "a"}}), Conditioned)


# Otherwise: missing ---------------------------------------------------------------------------------------------------


def test_otherwise_missing_leaves_the_reward_out() -> None:
    values = torch.tensor([[[1.0, 5.0], [1.0, 7.0], [0.0, 9.0], [NAN, 9.0]]])
    rewards = RewardMatrix.from_groups(values, ("correct", "style"))
    seen = Conditioned(GDPO(), {"style": {"on": "correct", "otherwise": "missing"}}).transform(rewards)
    assert seen.valid_BK[:, 1].tolist() == [True, True, False, False]
    zero = Conditioned(GDPO(), {"style": {"on": "correct"}}).transform(rewards)
    assert zero.valid_BK[:, 1].tolist() == [True, True, True, False]


def test_what_does_not_count_is_known_whatever_stands_there() -> None:
    """`b` is missing where `a` fails; `c`, on `b`, is 0 there all the same, and missing only where `a` is."""
    values = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 2.0, 3.0], [NAN, 2.0, 3.0]]])
    rewards = RewardMatrix.from_groups(values, ("a", "b", "c"))
    conditions = {"c": {"on": "b"}, "b": {"on": "a", "otherwise": "missing"}}
    seen = Conditioned(GDPO(), conditions).transform(rewards)
    assert seen.valid_BK.tolist() == [[True, True, True], [True, False, True], [False, False, False]]
    assert seen.values_BK[:2, 2].tolist() == [3.0, 0.0]


def test_bounds_hold_the_zero_only_where_it_may_stand() -> None:
    rewards = evolve(RewardMatrix.from_groups(torch.ones(1, 2, 2)), bounds={"r1": (1.0, 2.0)})
    for otherwise, expected in (("zero", (0.0, 2.0)), ("missing", (1.0, 2.0))):
        conditioned = Conditioned(GDPO(), {"r1": {"on": "r0", "otherwise": otherwise}})
        assert conditioned.transform(rewards).bounds == {"r1": expected}


def test_another_otherwise_is_refused() -> None:
    with pytest.raises(ConfigError, match="`otherwise` of a condition must be zero or missing; got 'nan'"):
        Conditioned(GDPO(), {"r1": {"on": "r0", "otherwise": "nan"}})


def test_a_threshold_above_the_ceiling_is_refused():
    estimator = Conditioned(GRPONoStd(), {"short": {"on": "correct", "at_least": 1.5}})
    with pytest.raises(
        ConfigError, match=r"condition of 'short' can never be reached: at_least is 1.5, .* \[0.0, 1.0\]"
    ):
        estimator.check_bounds({"correct": (0.0, 1.0)}, {})
    estimator.check_bounds({"correct": (0.0, 1.5)}, {})
    estimator.check_bounds({"short": (0.0, 1.0)}, {})
