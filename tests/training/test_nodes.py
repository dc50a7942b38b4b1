"""Two nodes of torchrun: as hosts of their own, network namespaces with one cable, else on the loopback device."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import yaml
from attrs import frozen
from processes import free_port

from morl import train

ROUNDING = 1e-4
"""As in `test_run.py`."""


@frozen
class Node:
    """Where processes run.

    Attributes:
        enter: what stands before a command there.
        interface: the device to the other node.
        address: its own on that device.
    """

    enter: tuple[str, ...]
    interface: str
    address: str


@contextmanager
def hosts() -> Iterator[list[Node]]:
    """Two network namespaces, joined by a pair of virtual devices, which reach each other by one address alone.

    Where none may be made, which takes root on Linux, the loopback device twice.
    """
    names = [f"morl-{os.getpid()}-{n}" for n in range(2)]
    devices = [f"ml{os.getpid() % 1_000_000}{n}" for n in "ab"]  # of 15 characters at most
    with ExitStack() as stack:
        commands = [["link", "add", devices[0], "type", "veth", "peer", "name", devices[1]]]
        for n, name in enumerate(names):
            if not ip("netns", "add", name):
                yield [Node((), "lo", "127.0.0.1")] * 2
                return
            stack.callback(ip, "netns", "del", name)  # its device goes with it
            inside = ["-n", name]
            commands += [
                ["link", "set", devices[n], "netns", name],
                [*inside, "addr", "add", f"10.77.0.{n + 1}/24", "dev", devices[n]],
                [*inside, "link", "set", devices[n], "up"],
                [*inside, "link", "set", "lo", "up"],
            ]
        assert all(ip(*command) for command in commands)
        yield [Node(("ip", "netns", "exec", names[n]), devices[n], f"10.77.0.{n + 1}") for n in range(2)]


def ip(*arguments: str) -> bool:
    """Whether the system did it."""
    if shutil.which("ip") is None:
        return False
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_two_nodes_of_torchrun_train_the_policy_of_one_process(settings, tmp_path, difference):
    changes = {"training.steps": 2, "training.export_every": 1, "training.inner_epochs": 1}
    tree = settings({**changes, "output": str(tmp_path / "nodes")})
    tree["trainer"] |= {"num_nodes": 2, "devices": 1, "strategy": "fsdp2"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    output = [tmp_path / f"node-{node}.txt" for node in range(2)]
    with hosts() as places:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
        rendezvous = [f"--master-addr={places[0].address}", f"--master-port={free_port()}"]
        started = []
        for number, place in enumerate(places):
            arguments = [*place.enter, *torchrun, *rendezvous, f"--node-rank={number}"]
            command = [*arguments, "-m", "morl", "train", str(tmp_path / "config.yaml")]
            environment = {**os.environ, "GLOO_SOCKET_IFNAME": place.interface, "OMP_NUM_THREADS": "1"}
            with output[number].open("w") as file:
                started.append(subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT))
        try:
            codes = [process.wait(timeout=900) for process in started]
        finally:
            for process in started:
                process.kill()
    assert codes == [0, 0], [path.read_text() for path in output]
    alone = train(settings({**changes, "output": str(tmp_path / "alone")}))
    assert difference(alone.model, tmp_path / "nodes" / "model") < ROUNDING
    assert difference(tmp_path / "nodes" / "exports" / "step-000002", tmp_path / "nodes" / "model") == 0
