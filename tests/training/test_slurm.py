"""The batch script for SLURM, with a stand-in for `srun` that starts the tasks of two nodes on the loopback device."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from processes import free_port

from morl import train
from morl.artifacts.folder import RunFolder

pytestmark = pytest.mark.slow
ROUNDING = 1e-4
"""As in `test_run.py`."""
WAIT = 900
"""Seconds that end a hang."""
SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "morl.sbatch"

SRUN = '''#!{python}
"""Starts one task on each of two nodes as srun does, and hands SIGTERM on to them as slurmstepd does."""
import os, signal, subprocess, sys

OWN = ("SLURM_PROCID", "SLURM_NODEID")
command = sys.argv[1:]
while command[0].startswith("--"):
    command.pop(0)
tasks = [
    subprocess.Popen(command, env={{**os.environ, "SLURM_LOCALID": "0", **dict.fromkeys(OWN, str(n))}})
    for n in range(2)
]
signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
open(os.environ["SRUN_PID"], "w").write(str(os.getpid()))
sys.exit(max((task.wait() for task in tasks), key=abs))
'''


@pytest.fixture
def submit(tmp_path):
    """`submit(*arguments)`: the script as SLURM starts it, with the variables that it sets."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text(SRUN.format(python=sys.executable))
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    started = []

    def start(*arguments):
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "SRUN_PID": str(tmp_path / "srun.pid"),
            "SLURM_JOB_ID": "1234567",
            "SLURM_JOB_NAME": "morl",
            "SLURM_NNODES": "2",
            "SLURM_NTASKS": "2",
            "SLURM_NTASKS_PER_NODE": "1",
            "SLURM_NODELIST": "127.0.0.1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
        }
        output = tmp_path / f"slurm-{len(started)}.out"
        with output.open("w") as file:
            process = subprocess.Popen(
                ["bash", SCRIPT, *map(str, arguments)],
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        return process, output

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_run_on_two_nodes_is_ended_by_slurm_and_goes_on_when_submitted_again(submit, settings, tmp_path, difference):
    changes = {"training.inner_epochs": 1, "training.steps": 60, "optimizer": {"lr": 3e-3, "eps": 1e-3}}
    config, run = settings(changes), RunFolder(tmp_path / "nodes")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    process, output = submit(tmp_path / "config.yaml", run.path)
    until = time.monotonic() + WAIT
    while not run.complete_checkpoints():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < until, output.read_text()
        time.sleep(0.1)
    os.kill(int((tmp_path / "srun.pid").read_text()), signal.SIGTERM)  # the time is up: the tasks are told, not bash
    process.wait(WAIT)
    assert "morl resume" in output.read_text()
    done = run.complete_checkpoints()
    assert done
    steps = int(done[-1].stem.removeprefix("step-")) + 1
    assert steps < 60, "it was ended, and did not end"

    process, output = submit(tmp_path / "config.yaml", run.path, f"--training.steps={steps}")
    assert process.wait(WAIT) == 0, output.read_text()
    alone = train({**config, "training": {**config["training"], "steps": steps}})
    assert difference(alone.model, run.model) < ROUNDING
    process, output = submit(tmp_path / "config.yaml", run.path)
    assert process.wait(WAIT) == 0
    assert "has ended; nothing to do" in output.read_text()


def test_the_script_says_what_it_needs(submit):
    process, output = submit("config.yaml")
    assert process.wait(WAIT) == 2
    assert "usage: sbatch morl.sbatch CONFIG.yaml RUN_FOLDER" in output.read_text()
