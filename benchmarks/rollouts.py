"""CPU time of the rollout backends side by side: tokens per second, weight sync, start-up.

    OMP_NUM_THREADS=1 python benchmarks/rollouts.py [--cases 1M-short-fixed ..] [--rounds 5]

64 prompts x 8 completions, float32, one thread; the backends take turns on the same prompts, and medians of CPU
seconds are printed.  Models and prompts are those of `trl_cases.py`.  `vllm` needs the plugin morl-vllm and its
engine; without them the transformers backend is measured alone.  The share of the sync is that of sync and generation
together, so that of a whole step, with its update, is smaller still.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from trl_cases import CASES, Case, make_prompts, save_model

from morl.errors import MorlError
from morl.hookspecs import RolloutBackend
from morl.plugins import Registry
from morl.policy.load import load_policy, load_tokenizer
from morl.training.parts import build
from morl.types import EncodedPrompt, Prompt, Sampling

PROMPTS, GROUP = 64, 8
OPTIONS: dict[str, dict[str, Any]] = {"transformers": {}, "vllm": {"max_num_seqs": 512, "max_model_len": 512}}


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds that it takes."""
    began = time.process_time()
    run()
    return time.process_time() - began


def measure(case: Case, rounds: int) -> None:
    """Prints one line per backend."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(case, Path(folder))
        policy, tokenizer = load_policy(folder), load_tokenizer(folder)
        texts = make_prompts(case, PROMPTS)
        prompts = [EncodedPrompt(Prompt(t), t, tuple(tokenizer(t)["input_ids"]), i) for i, t in enumerate(texts)]
        sampling = Sampling(max_tokens=case.max_tokens)
        backends: dict[str, RolloutBackend] = {}
        try:
            for name, options in OPTIONS.items():
                try:
                    backend: RolloutBackend = build(Registry(), "rollout backend", name, options, "rollout")
                except MorlError as error:
                    print(f"     {name}: {error}")
                    continue
                backends[name] = backend
                started = seconds(lambda backend=backend: backend.start(policy, tokenizer, folder))  # type: ignore[misc]
                print(f"     {name:13} start {started:5.2f} s")
            syncs: dict[str, list[float]] = {name: [] for name in backends}
            speeds: dict[str, list[float]] = {name: [] for name in backends}
            times: dict[str, list[float]] = {name: [] for name in backends}
            for turn in range(rounds + 1):
                for name, backend in backends.items():
                    sync = seconds(lambda backend=backend: backend.sync_weights(turn))  # type: ignore[misc] # noqa: B023
                    began = time.process_time()
                    batch = backend.generate(prompts, GROUP, sampling, range(turn * PROMPTS, (turn + 1) * PROMPTS))
                    took = time.process_time() - began
                    if turn:  # the first warms up
                        syncs[name].append(sync)
                        times[name].append(took)
                        speeds[name].append(int(batch.completion_mask_BT.sum()) / took)
            for name in backends:
                sync, took = statistics.median(syncs[name]), statistics.median(times[name])
                print(
                    f"     {name:13} {statistics.median(speeds[name]):8,.0f} tokens/s"
                    f"  sync {1000 * sync:6.1f} ms, {sync / (sync + took):6.2%} of sync and generation",
                    flush=True,
                )
        finally:
            for backend in backends.values():
                backend.close()


def main() -> None:
    """All cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [name for name in CASES if "epochs" not in name]
    parser.add_argument("--cases", nargs="*", default=names, choices=names)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.cases:
        print(name, flush=True)
        measure(CASES[name], options.rounds)


if __name__ == "__main__":
    main()
