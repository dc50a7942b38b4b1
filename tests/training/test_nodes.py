"""Two nodes, as two process groups of torchrun on the loopback device."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import yaml

from morl import train

ROUNDING = 1e-4
"""As in `test_run.py`."""


@pytest.mark.slow
def test_two_nodes_of_torchrun_train_the_policy_of_one_process(settings, tmp_path, difference):
    changes = {"training.steps": 2, "training.export_every": 1, "training.inner_epochs": 1}
    alone = train(settings({**changes, "output": str(tmp_path / "alone")}))
    nodes = settings({**changes, "output": str(tmp_path / "nodes")})
    nodes["trainer"] |= {"num_nodes": 2, "devices": 1, "strategy": "fsdp2"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(nodes))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    rendezvous = ["--master-addr=127.0.0.1", f"--master-port={port}"]
    command = ["-m", "morl", "train", str(tmp_path / "config.yaml")]
    output = [tmp_path / f"node-{node}.txt" for node in range(2)]
    started = []
    for node in range(2):
        with output[node].open("w") as file:
            arguments = [*torchrun, f"--node-rank={node}", *rendezvous, *command]
            started.append(subprocess.Popen(arguments, env=environment, stdout=file, stderr=subprocess.STDOUT))
    try:
        codes = [process.wait(timeout=900) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [0, 0], [path.read_text() for path in output]
    assert difference(alone.model, tmp_path / "nodes" / "model") < ROUNDING
    assert difference(tmp_path / "nodes" / "exports" / "step-000002", tmp_path / "nodes" / "model") == 0
