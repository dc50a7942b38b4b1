"""What every test of the repository runs under, so that a folder run alone is no other than within the whole suite.

Hypothesis draws the same examples in every run and has no deadline: no test fails by chance, or because the machine is
busy.  `MORL_EXAMPLES` is how many a property draws that does not say so itself; `make test-properties` draws many.
Processes keep to `OMP_NUM_THREADS`, 1 if it is not set, which several workers side by side need.

This process does not wait for the disk: a run of four steps waits 40 times, and only a power cut could tell.  What is
synced, and in which order, is tested in `tests/artifacts/test_files.py`; processes that tests start do wait.

No test asks a hub of models: a name that is none would wait for the network where there is one that never answers.

Ctrl-C reaches this process and those that it starts, although a shell lets what it runs in the background ignore it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, os.environ.get("OMP_NUM_THREADS", "1"))  # before anything imports torch
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when huggingface_hub is imported, and by processes that tests start

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

settings.register_profile(
    "morl",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=int(os.environ.get("MORL_EXAMPLES", "40")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("morl")


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: os.fstat(handle) and None)  # which fails for what is not open, too
        yield


@pytest.fixture(autouse=True)
def _interrupts() -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
