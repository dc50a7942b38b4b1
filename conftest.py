"""What every test of the repository runs under, so that a folder run alone is no other than within the whole suite.

Hypothesis draws the same examples in every run and has no deadline: no test fails by chance, or because the machine is
busy.  Processes keep to `OMP_NUM_THREADS`, 1 if it is not set, which several workers side by side need.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, os.environ.get("OMP_NUM_THREADS", "1"))  # before anything imports torch

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

settings.register_profile(
    "morl", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("morl")


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
