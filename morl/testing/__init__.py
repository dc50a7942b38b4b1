"""What plugin authors test with: Hypothesis strategies and conformance checks.  Needs `pip install morl[testing]`."""

from morl.testing.estimators import LawBroken, check_advantage_estimator
from morl.testing.laws import ALWAYS, CLAIMS, Law
from morl.testing.strategies import reward_matrices, reward_values

__all__ = [
    "ALWAYS",
    "CLAIMS",
    "Law",
    "LawBroken",
    "check_advantage_estimator",
    "reward_matrices",
    "reward_values",
]
