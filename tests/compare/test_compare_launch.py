"""Processes of cells: none is left behind, however they and their parent end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import runs, until

from morl.compare.launch import _Command, stop, sweep

# Its child sleeps on when it is gone; a cell's sandbox or data loader might.
CHILD = "import os, signal, time; pid = os.fork() or time.sleep(600)\n"
ENDS = f"{CHILD}print(pid, flush=True)"
WRITES = f"{CHILD}try: print(pid, flush=True); time.sleep(600)\nexcept KeyboardInterrupt: print('written', flush=True)"
IGNORES = f"{CHILD}signal.signal(signal.SIGINT, signal.SIG_IGN); print(pid, flush=True); time.sleep(600)"

# Interrupts whoever interrupts it.
ANSWERS = (
    f"{CHILD}signal.signal(signal.SIGINT, lambda *_: os.kill(os.getppid(), signal.SIGALRM)); print(pid, flush=True)\n"
    "time.sleep(600)"
)


def begin(code: str) -> tuple[_Command, int]:
    """A process in a group of its own, and the child that it has started."""
    popen = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert popen.stdout is not None
    return _Command(popen), int(popen.stdout.readline())


def is_gone(pid: int) -> bool:
    """Whether a process has ended, within a moment; on a busy machine, moments are long."""
    return until(lambda: not runs(pid))


def test_what_an_ended_cell_left_behind_is_killed():
    process, child = begin(ENDS)
    process.popen.wait()
    assert Path(f"/proc/{child}").exists()
    sweep(process)
    assert is_gone(child)
    process.popen.communicate()


def test_an_interrupted_cell_may_write_what_it_has_and_takes_its_children_along():
    (writer, child), (other, second) = begin(WRITES), begin(WRITES)
    stop([writer, other])
    for process, own in ((writer, child), (other, second)):
        assert process.popen.communicate()[0] == "written\n"
        assert is_gone(own)


def test_a_cell_that_ignores_the_interrupt_is_killed_after_the_grace():
    process, child = begin(IGNORES)
    stop([process], grace=0.3)
    process.popen.communicate()
    assert process.exit_code() == -signal.SIGKILL
    assert is_gone(child)


def test_a_second_interrupt_kills_at_once():
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        process, child = begin(ANSWERS)
        with pytest.raises(KeyboardInterrupt):
            stop([process], grace=600)
    finally:
        signal.signal(signal.SIGALRM, before)
    process.popen.communicate()
    assert is_gone(child)


@pytest.mark.slow
def test_the_process_that_is_forked_from_has_one_thread_and_no_gpu():
    """A fork has the first thread only: pools and contexts of the other process would be missing."""
    code = (
        "import importlib, os, torch\n"
        "from morl.compare.launch import _MODULES\n"
        "for name in _MODULES: importlib.import_module(name)\n"
        "print(len(os.listdir('/proc/self/task')), torch.cuda.is_initialized())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["1", "False"]
