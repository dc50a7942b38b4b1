"""Options of the estimators: what is accepted, and what is said of what is not."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from morl.advantage import GDPO, GRPO, GRPONoStd
from morl.errors import ConfigError


@pytest.mark.parametrize("estimator", [GRPO, GDPO])
@pytest.mark.parametrize("eps", [-1e-9, float("nan"), float("inf"), "small", True])
def test_eps_must_be_a_number_of_zero_or_more(estimator: Any, eps: object) -> None:
    with pytest.raises(ConfigError, match=f"eps of {estimator.__name__} must be a finite number >= 0; got {eps!r}"):
        estimator(eps=eps)


@pytest.mark.parametrize("estimator", [GRPO, GDPO])
@pytest.mark.parametrize("ddof", [2, -1, 0.5, "1", None, True])
def test_ddof_must_be_one_or_zero(estimator: Any, ddof: object) -> None:
    with pytest.raises(ConfigError, match=rf"ddof of {estimator.__name__} must be 1 .* or 0 .*; got {ddof!r}"):
        estimator(ddof=ddof)


def test_batch_norm_must_be_a_switch() -> None:
    with pytest.raises(ConfigError, match="batch_norm of GDPO must be true or false; got 'no'"):
        GDPO(batch_norm="no")  # type: ignore[arg-type]


def test_an_eps_that_would_do_nothing_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"eps of GDPO belongs to batch normalisation; batch_norm=False leaves eps=0.1"
    ):
        GDPO(eps=0.1, batch_norm=False)
    GDPO(eps=0, batch_norm=False)


def test_estimators_are_frozen_and_equal_by_their_options() -> None:
    assert GRPO(eps=0.5) == GRPO(eps=0.5) != GRPO()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        GRPO().eps = 1.0  # type: ignore[misc]


def test_grpo_no_std_has_no_options_of_a_standard_deviation() -> None:
    assert [field.name for field in attrs.fields(GRPONoStd)] == ["weighting", "missing", "preset"]
