"""The trainer's process is the same before and after an engine worked in it.

What the body of each `with` does is what vLLM does when it starts, generates and shuts down.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from morl_vllm.isolation import REPLACED, ProcessIsolation


def isolation(**environment: str | None) -> ProcessIsolation:
    return ProcessIsolation(environment, eager=False)


def nothing(*args: Any) -> None:
    """What vLLM puts in place of torch.set_num_threads."""


def test_random_generators() -> None:
    def states() -> tuple[Any, ...]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    with isolation().at_work():
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        torch.rand(3)
    assert states() == before


def test_random_generators_after_an_error() -> None:
    before = torch.get_rng_state()

    def fail() -> None:
        with isolation().at_work():
            torch.manual_seed(0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_of_the_trainer_beside_the_engine_are_not_undone() -> None:
    resident, entered, drawn = isolation(), threading.Event(), threading.Event()

    def sample_ahead() -> None:
        with resident.at_work():
            entered.set()
            drawn.wait(10)

    beside = threading.Thread(target=sample_ahead)
    beside.start()
    entered.wait(10)
    torch.rand(1)
    after = torch.get_rng_state()
    drawn.set()
    beside.join()
    assert torch.equal(torch.get_rng_state(), after)


def test_functions_are_the_trainers_outside_and_the_engines_within() -> None:
    trainers = [getattr(*place) for place in REPLACED]
    resident = isolation()
    with resident.at_work():
        torch.set_num_threads = nothing
    assert [getattr(*place) for place in REPLACED] == trainers
    with resident.at_work():
        assert torch.set_num_threads is nothing
    assert [getattr(*place) for place in REPLACED] == trainers


def test_number_of_threads() -> None:
    before = torch.get_num_threads()
    real = torch.set_num_threads
    with isolation().at_work():
        real(before + 1)
        torch.set_num_threads = nothing
    assert torch.get_num_threads() == before


def test_environment_is_the_trainers_outside_and_the_engines_within(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_TRAINER", "1")
    monkeypatch.setenv("OF_BOTH", "trainer")
    monkeypatch.delenv("OF_ENGINE", raising=False)
    before = dict(os.environ)
    resident = isolation(OF_BOTH="engine", OF_TRAINER=None)
    with resident.at_work():
        assert os.environ["OF_BOTH"] == "engine"
        assert "OF_TRAINER" not in os.environ
        os.environ["OF_ENGINE"] = "set by itself"
    assert dict(os.environ) == before
    monkeypatch.setenv("OF_TRAINER", "2")
    with resident.at_work():
        assert os.environ["OF_ENGINE"] == "set by itself"
        assert "OF_TRAINER" not in os.environ
    assert dict(os.environ) == before | {"OF_TRAINER": "2"}


def test_garbage_collection() -> None:
    frozen = gc.get_freeze_count()
    with isolation().at_work(leaving=True):
        assert gc.get_freeze_count() == frozen
        gc.freeze()
        assert gc.get_freeze_count() > frozen
    assert gc.get_freeze_count() == frozen
    with isolation().at_work():
        assert gc.get_freeze_count() > frozen
    assert gc.get_freeze_count() == frozen


def test_autocast_and_gradients_stop_at_the_engine() -> None:
    with torch.autocast("cpu", torch.bfloat16), isolation().at_work():
        product = torch.ones(2, 2, requires_grad=True) @ torch.ones(2, 2)
    assert product.dtype == torch.float32
    assert not product.requires_grad


def test_the_engine_computes_with_the_trainers_precision() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with isolation().at_work():
            torch.set_float32_matmul_precision("highest")
            assert torch.get_float32_matmul_precision() == "high"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_tracebacks_look_as_before() -> None:
    before = sys.excepthook
    with isolation().at_work():
        sys.excepthook = nothing
    assert sys.excepthook is before


def test_compiled_functions_run_as_written() -> None:
    def increment(x: torch.Tensor) -> torch.Tensor:
        return x + 1 if not torch.compiler.is_compiling() else x + 100

    compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(increment, backend="eager")
    with ProcessIsolation({}, eager=True).at_work():
        assert compiled(torch.zeros(1)) == 1
    assert compiled(torch.zeros(1)) == 100


def test_a_process_group_outlives_the_engine(tmp_path: Path) -> None:
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        with isolation().at_work():
            own = dist.new_group([0])
            dist.destroy_process_group(own)
            dist.destroy_process_group()
        assert dist.is_initialized()
        dist.barrier()
    finally:
        dist.destroy_process_group()
    assert not dist.is_initialized()


def test_the_engines_own_process_group_ends_with_it(tmp_path: Path) -> None:
    resident = isolation()
    with resident.at_work():
        dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    with resident.at_work():
        dist.destroy_process_group()
    assert not dist.is_initialized()
