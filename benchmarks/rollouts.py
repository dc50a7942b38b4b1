"""The rollout backends side by side: tokens per second, start-up, and what the weight sync takes of a training step.

    OMP_NUM_THREADS=1 python benchmarks/rollouts.py [--cases 1M-short-fixed ..] [--backends vllm ..] [--rounds 5]

64 prompts x 8 completions, float32, one thread; the backends take turns on the same prompts, and medians are printed,
of CPU seconds and of seconds by the clock, which is what a user waits for.  The CPU seconds of `vllm-server` are those
of this process and of all of the server's.  Models and prompts are those of `trl_cases.py`; every case is a process of
its own.

Start-up is everything from nothing to present weights in the engine: the import of vLLM included, that of torch and
transformers not, but for a server, which needs its own.  Behind it stands how much longer the first rollout takes than
the same one again.

The share of the sync is that of real training steps, of `morl.train` with 16 prompts x 8 completions.

`135M-smollm2` is the real model of the plugin morl-smollm, with 8 prompts x 8 completions, and 2 x 8 in a training
step; it runs only if asked for.

`vllm` and `vllm-server` need the plugin morl-vllm and its engine; without them the transformers backend is measured
alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from attrs import define, field, frozen
from server import RolloutServer
from steps import train_steps
from trl_cases import BY_DEFAULT, CASES, GROUP, LONG, Case, make_prompts, save_model

from morl.errors import MorlError
from morl.hookspecs import RolloutBackend
from morl.plugins import Registry
from morl.policy.load import load_policy, load_tokenizer
from morl.runtime.parts import build
from morl.types import EncodedPrompt, Prompt, RolloutBatch, Sampling

BATCHES = 4
ENGINE = {"max_num_seqs": 512, "max_model_len": 512}
BACKENDS = ("transformers", "vllm", "vllm-server")
ROLLOUTS = {name: case for name, case in CASES.items() if case.inner_epochs == 1} | {
    "10M-long-natural": Case("10M", LONG, 256, natural=True)
}
BY_DEFAULT_ROLLOUTS = [name for name in ROLLOUTS if name not in CASES or name in BY_DEFAULT]
STEPS, WARM_UP = 4, 1


@frozen
class Cost:
    """Seconds."""

    cpu: float
    wall: float


@define(eq=False)
class Contestant:
    """A backend, the server behind it if it has one, and what was measured."""

    name: str
    server: RolloutServer | None
    backend: RolloutBackend | None = None
    costs: dict[str, list[Cost]] = field(factory=lambda: {"start": [], "generate": [], "sync": []})
    lengths: list[torch.Tensor] = field(factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """Of the section `rollout`."""
        if self.server is not None:
            return {"urls": [self.server.url]}
        return ENGINE if self.name == "vllm" else {}

    def start(self, policy: Any, tokenizer: Any, folder: Path) -> None:
        """From nothing to an engine with the policy's weights."""
        if self.server is not None:
            self.server.start()
        self.backend = build(Registry(), "rollout backend", self.name, self.options, "rollout")
        self.backend.start(policy, tokenizer, str(folder))
        self.backend.sync_weights(0)

    def measure(self, what: str, run: Callable[[], Any]) -> Any:
        """Runs it and notes what it cost."""
        cpu, wall = self._cpu_seconds(), time.perf_counter()
        result = run()
        self.costs[what].append(Cost(self._cpu_seconds() - cpu, time.perf_counter() - wall))
        return result

    def median(self, what: str) -> Cost:
        """Of all but the first, which warms up."""
        later = self.costs[what][1:]
        return Cost(statistics.median(c.cpu for c in later), statistics.median(c.wall for c in later))

    def close(self) -> None:
        if self.backend is not None:
            self.backend.close()

    def _cpu_seconds(self) -> float:
        children = os.times()  # those that have ended: a server runs on
        own = time.process_time() + children.children_user + children.children_system
        return own + (self.server.cpu_seconds() if self.server is not None else 0.0)


def measure(case: Case, names: Sequence[str], rounds: int) -> None:
    """Prints what there is to say about a case."""
    torch.set_num_threads(1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model"
        save_model(case, folder)
        contestants = []
        for name in names:
            server = stack.enter_context(RolloutServer(folder, ENGINE)) if name == "vllm-server" else None
            contestants.append(Contestant(name, server))
        contestants = race(contestants, case, folder, rounds)
        for contestant in contestants:
            print(describe(contestant), flush=True)
        for contestant in contestants:
            output = folder.with_name(f"run-{contestant.name}")
            changes = {"rollout": {"name": contestant.name, **contestant.options}}
            print(
                describe_step(contestant.name, train_steps(case, folder, output, STEPS, changes, WARM_UP)), flush=True
            )


def race(contestants: Sequence[Contestant], case: Case, folder: Path, rounds: int) -> list[Contestant]:
    """Those that could be started, after their rounds."""
    policy, tokenizer = load_policy(str(folder)), load_tokenizer(str(folder))
    count = BATCHES * case.prompts
    texts = make_prompts(case, count)
    prompts = [EncodedPrompt(Prompt(t), t, tuple(tokenizer(t)["input_ids"]), i) for i, t in enumerate(texts)]
    sampling = Sampling(max_tokens=case.max_tokens)
    ready: list[Contestant] = []
    try:
        for contestant in contestants:
            ready.append(contestant)
            try:
                contestant.measure("start", partial(contestant.start, policy, tokenizer, folder))
            except MorlError as error:
                print(f"  {contestant.name} is not measured: {error}", flush=True)
                ready.pop()
        for turn in range(rounds + 1):
            for contestant in ready:
                backend = contestant.backend
                assert backend is not None
                contestant.measure("sync", partial(backend.sync_weights, turn))
                first = max(turn - 1, 0) * count  # the warm-up is repeated, to see what it took longer
                seeds = range(first, first + count)
                batch: RolloutBatch = contestant.measure(
                    "generate", partial(backend.generate, prompts, GROUP, sampling, seeds)
                )
                contestant.lengths.append(batch.completion_mask_BT.sum(1))
    finally:
        for contestant in ready:
            contestant.close()
    return ready


def describe(contestant: Contestant) -> str:
    """What the rounds of a backend were like."""
    start, (first, again) = contestant.costs["start"][0], contestant.costs["generate"][:2]
    sync = contestant.median("sync")
    pairs = list(zip(contestant.lengths, contestant.costs["generate"], strict=True))[1:]
    by_cpu = statistics.median(float(lengths.sum()) / cost.cpu for lengths, cost in pairs)
    by_wall = statistics.median(float(lengths.sum()) / cost.wall for lengths, cost in pairs)
    lengths = torch.cat([lengths for lengths, _ in pairs])
    return (
        f"  {contestant.name:12} {by_cpu:8,.0f} tokens per CPU second, {by_wall:8,.0f} per second"
        f" ({lengths.double().mean():.0f} tokens per completion, the longest {lengths.max()})"
        f"\n{'':15}sync     {1000 * sync.cpu:7.1f} ms of CPU, {1000 * sync.wall:7.1f} ms"
        f"\n{'':15}start-up {start.cpu:7.2f} s of CPU,  {start.wall:7.2f} s; first rollout"
        f" {first.cpu - again.cpu:+.2f} s of CPU, {first.wall - again.wall:+.2f} s"
    )


def describe_step(name: str, steps: Sequence[dict[str, float]]) -> str:
    """Where the time of a step goes."""
    whole = statistics.median(step["step"] for step in steps)
    shares = {part: statistics.median(step[part] / step["step"] for step in steps) for part in steps[0]}
    return (
        f"  {name:12} a training step takes {whole:6.2f} s: rollout {shares['rollout']:.0%}, update"
        f" {shares['update']:.0%}, sync {shares['sync']:.2%}"
    )


def main() -> int:
    """All cases that were asked for; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=BY_DEFAULT_ROLLOUTS, choices=list(ROLLOUTS))
    parser.add_argument("--backends", nargs="*", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    failed = 0
    for name in options.cases:
        print(name, flush=True)
        arguments = (ROLLOUTS[name], options.backends, options.rounds)
        process = multiprocessing.get_context("spawn").Process(target=measure, args=arguments)
        process.start()
        process.join()
        failed |= bool(process.exitcode)
    return failed


if __name__ == "__main__":
    sys.exit(main())
