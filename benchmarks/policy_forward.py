"""CPU time and memory of one update's forward and backward: `PolicyModel` against the usual padded forward.

    OMP_NUM_THREADS=1 python benchmarks/policy_forward.py [--sizes 1M 10M] [--repeats 5]

16 prompts x 8 completions in micro-batches of 32, a Qwen2 with random weights, float32, no optimizer step.  The
baseline is what RL trainers commonly do: prompts padded at the left, completions at the right, SDPA with an attention
mask, logits of the completion columns only, `log_softmax` and `gather`.  Runs are interleaved; medians are printed.
`--peak` runs one path once and prints the peak memory of its process (in kB, Linux only) instead.
`--compile` adds baseline and packed passes through `torch.compile`, which needs a C++ compiler, and prints
what the first round cost each path, compilers included, in place of peaks.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from morl.policy.model import PolicyModel

P, G, MICRO_BATCH = 16, 8, 32
SIZES: dict[str, dict[str, Any]] = {
    "1M": {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4},
    "10M": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6},
}
WORK = {  # shortest and longest prompt; completion length, or None for a heavy tail with mean 35 and cap 256
    "short prompts, fixed 64": (16, 32, 64),
    "prompts of about 190, fixed 64": (170, 210, 64),
    "short prompts, heavy tail": (16, 32, None),
    "prompts of about 190, heavy tail": (170, 210, None),
}
PATHS = ("baseline", "padded", "packed")
COMPILED = ("baseline-compiled", "packed-compiled")
Batch = tuple[list[list[int]], Tensor, Tensor, Tensor]


def make_model(size: str, vocab: int) -> Qwen2ForCausalLM:
    """A random Qwen2, two key-value heads, tied embeddings."""
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=vocab, num_key_value_heads=2, tie_word_embeddings=True, **SIZES[size])
    return Qwen2ForCausalLM(config)


def make_batches(work: str, vocab: int) -> list[Batch]:
    """Micro-batches of whole groups."""
    shortest, longest, fixed = WORK[work]
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(P * G // MICRO_BATCH):
        sizes = torch.randint(shortest, longest + 1, (MICRO_BATCH // G,), generator=generator).tolist()
        prompts = [torch.randint(vocab, (size,), generator=generator).tolist() for size in sizes]
        lengths = torch.full((MICRO_BATCH,), fixed or 0)
        if fixed is None:  # exponential, as when every token may be the last with equal probability
            uniform = torch.rand(MICRO_BATCH, generator=generator)
            lengths = (-35.0 * uniform.log()).ceil().clamp(1, 256).long()
        mask = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
        ids = torch.randint(vocab, mask.shape, generator=generator)
        batches.append((prompts, torch.arange(MICRO_BATCH // G).repeat_interleave(G), ids * mask, mask))
    return batches


def baseline(model: Qwen2ForCausalLM, batch: Batch) -> Tensor:
    """Log-probabilities by the usual padded forward."""
    prompts, groups, ids, mask = batch
    longest = max(map(len, prompts))
    left = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])[groups]
    left_mask = torch.tensor([[False] * (longest - len(p)) + [True] * len(p) for p in prompts])[groups]
    attention_mask = torch.cat([left_mask, mask], 1)
    position_ids = (attention_mask.long().cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=torch.cat([left, ids], 1),
        attention_mask=attention_mask,
        position_ids=position_ids,
        logits_to_keep=ids.shape[1] + 1,
        use_cache=False,
    ).logits[:, :-1]
    logprobs: Tensor = logits.log_softmax(-1).gather(2, ids.unsqueeze(2)).squeeze(2)
    return logprobs[mask]


def compiled(model: Any) -> Any:
    """The model, whose forward is compiled for tensors of any length."""
    model.forward = torch.compile(model.forward, dynamic=True)
    return model


def steps(size: str, vocab: int) -> dict[str, Callable[[Batch], Tensor]]:
    """Log-probabilities by path name; the models share nothing, so that settings do not."""
    found: dict[str, Callable[[Batch], Tensor]] = {}
    plain = make_model(size, vocab).train()
    found["baseline"] = lambda batch: baseline(plain, batch)
    padded = PolicyModel(make_model(size, vocab), packed=False)
    found["padded"] = lambda batch: padded(padded.make_plan(*batch)).logprobs_T
    packed = PolicyModel(make_model(size, vocab), packed=True)
    found["packed"] = lambda batch: packed(packed.make_plan(*batch)).logprobs_T
    quick = compiled(make_model(size, vocab).train())
    found["baseline-compiled"] = lambda batch: baseline(quick, batch)
    both = PolicyModel(make_model(size, vocab), packed=True)
    compiled(both.model)
    found["packed-compiled"] = lambda batch: both(both.make_plan(*batch)).logprobs_T
    return found


def run(step: Callable[[Batch], Tensor], batches: list[Batch]) -> float:
    """CPU seconds of forward and backward over all micro-batches."""
    start = cpu_seconds()
    for batch in batches:
        torch.autograd.backward(-step(batch).sum())
    return cpu_seconds() - start


def cpu_seconds() -> float:
    """Of this process and of those that it waited for, such as compilers."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--work", nargs="+", default=list(WORK), choices=list(WORK))
    parser.add_argument("--vocab", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak", choices=(*PATHS, *COMPILED))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--passes", type=int, default=P * G // MICRO_BATCH, help="micro-batches of a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = (*PATHS, *COMPILED) if arguments.compile else PATHS
    for size in arguments.sizes:
        paths = steps(size, arguments.vocab)
        for work in arguments.work:
            batches = make_batches(work, arguments.vocab)[: arguments.passes]
            if arguments.peak:
                run(paths[arguments.peak], batches)
                print(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])
                continue
            times: dict[str, list[float]] = {path: [] for path in chosen}
            first: dict[str, float] = {}
            for repeat in range(arguments.repeats + 1):
                for path in chosen:
                    seconds = run(paths[path], batches)
                    if repeat:
                        times[path].append(seconds)
                    else:  # warm-up
                        first[path] = seconds
            median = {path: statistics.median(values) for path, values in times.items()}
            options = ["--sizes", size, "--work", work, "--vocab", str(arguments.vocab), "--peak"]
            peak = {
                path: int(subprocess.check_output([sys.executable, __file__, *options, path], text=True)) // 1024
                for path in PATHS
                if not arguments.compile
            }
            print(f"{size}, {work}, vocabulary {arguments.vocab}")
            for path in chosen:
                ratio = median["baseline"] / median[path]
                other = f"first {first[path]:7.3f} s" if arguments.compile else f"peak {peak[path]} MB"
                print(f"  {path:17} {median[path]:7.3f} s  {ratio:5.2f}x  {other}", flush=True)


if __name__ == "__main__":
    main()
