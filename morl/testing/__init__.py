"""What plugin authors test with: Hypothesis strategies and conformance checks.  Needs `morl-llm[testing]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from morl.testing.environments import check_environment
from morl.testing.estimators import LawBroken, check_advantage_estimator
from morl.testing.laws import ALWAYS, CLAIMS, Law
from morl.testing.strategies import reward_matrices, reward_values

if TYPE_CHECKING:
    from morl.testing.rollouts import check_rollout_backend

__all__ = [
    "ALWAYS",
    "CLAIMS",
    "Law",
    "LawBroken",
    "check_advantage_estimator",
    "check_environment",
    "check_rollout_backend",
    "reward_matrices",
    "reward_values",
]


def __getattr__(name: str) -> Any:
    # Imports transformers, which authors of estimators do without.
    if name == "check_rollout_backend":
        from morl.testing.rollouts import check_rollout_backend

        return check_rollout_backend
    raise AttributeError(f"module 'morl.testing' has no attribute {name!r}")
