"""morl's estimators inside other trainers; see `docs/how-to/estimators-elsewhere.md`.

Each module is for one trainer, which it imports only when it is used.  They need the base distribution only.
"""

from morl.integrations.matrix import estimator, matrix

__all__ = ["estimator", "matrix"]
