"""One training step of morl against one of TRL's GRPOTrainer: CPU seconds and peak memory.

    pip install 'morl-llm[benchmarks]'
    python benchmarks/against_trl.py [--cases 1M-short-fixed ...] [--steps 3] [--repeats 2] [--json FILE]
    python benchmarks/against_trl.py --check [--options grpo gspo ...]

Both train the same Qwen2 model with random weights on the same prompts in the same order: 16 prompts x 8 completions
per step, temperature 1, GRPO on two reward functions, clipped loss without KL, mean over the tokens of each completion,
AdamW, float32, one thread.  TRL samples with `generate` (no vLLM) and takes micro-batches of 32 completions; morl's
micro-batches hold as many tokens as TRL's at their longest.  TRL writes no logs, morl its CSV and TensorBoard files.

Every run is a process of its own, and the frameworks take turns; medians over the steps, without the first of each
run.  `rollout` is sampling and decoding of the completions, `update` all the rest of the step, and `per token` a step
over its completion tokens, whose number is not the same for both where completions end by themselves.  Peak memory is
the resident set of the process until the last measured step ends.

`fixed`: the model never ends before 64 tokens.  `natural`: lengths have a heavy tail, a mean of about 34 tokens and a
limit of 256.  At each token the model ends with probability 1/27; with 1/400 it turns to rambling, in which it ends
with 1/250 only, and with 1/400 it turns back.  So a completion or two of a batch reach the limit.  All this is in the
model's weights; neither framework is told.

`-defaults`: each at its own defaults of what a pass holds, in place of TRL's micro-batch for both.

`135M-smollm2` is a real model in place of those: SmolLM2-135M-Instruct of the plugin morl-smollm, which decides itself
when a completion ends, on 2 prompts x 8 completions of at most 32 tokens.  It runs only if asked for.

`--check` lets morl recompute advantages and gradient of rollouts that TRL made, and compares: of plain GRPO on each
case, and on a small model, for several optimizer steps, of some two dozen options (`trl_check.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict
from rich.console import Console
from rich.table import Table
from trl_cases import BY_DEFAULT, CASES, save_model
from trl_check import CHECKED, OPTIONS, apart, check
from trl_runs import Record, run_morl, run_trl

FRAMEWORKS = {"trl": run_trl, "morl": run_morl}
LIMIT = 1e-5
"""Of `--check`: sums of float32 in another order differ by less; a wrong token or factor by 1e-3 and more."""
PARTS = {"rollout": "CPU s", "update": "CPU s", "step": "CPU s", "per_token": "CPU ms", "tokens": "count", "peak": "MB"}


def child(task: str, case: str, folder: Path, steps: int, seed: int, options: Sequence[str]) -> None:
    """One process's work; the parent loads none of the libraries, so that their memory is the child's own."""
    import torch

    torch.set_num_threads(1)
    answer = folder.with_suffix(".json")
    if task == "check":
        answer.write_text(json.dumps(check(CASES[case], folder)))
    elif task == "options":
        save_model(CHECKED, folder)
        answer.write_text(json.dumps({name: apart(CHECKED, folder, OPTIONS[name]) for name in options}))
    elif task == "model":
        save_model(CASES[case], folder)
    else:
        record = Record(steps)
        FRAMEWORKS[task](CASES[case], folder, record, seed)
        answer.write_text(
            json.dumps(asdict(record, filter=lambda a, _: a.name in ("rollout", "step", "tokens", "peak")))
        )


def spawn(task: str, case: str, folder: Path, steps: int = 0, seed: int = 0, options: Sequence[str] = ()) -> Any:
    """Runs `child` in a process of its own and returns its answer."""
    answer = folder.with_suffix(".json")
    task_options = f"--child {task} --cases {case} --steps {steps} --seed {seed} --folder".split()
    command = [sys.executable, __file__, *task_options, str(folder), *(["--options", *options] if options else [])]
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task}, {case} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(answer.read_text()) if answer.exists() else None


def compare(case: str, steps: int, repeats: int) -> dict[str, Any]:
    """Per framework the seconds and tokens of every step, and the peak memory of every run."""
    found: dict[str, Any] = {name: {part: [] for part in PARTS} for name in FRAMEWORKS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        spawn("model", case, folder)
        for seed in range(repeats):  # a repeat with the same seed would only sample the same completions again
            for name in FRAMEWORKS:
                run = spawn(name, case, folder, steps, seed)
                update = [whole - part for whole, part in zip(run["step"], run["rollout"], strict=True)]
                for key in ("rollout", "step", "tokens"):
                    found[name][key] += run[key]
                found[name]["update"] += update
                found[name]["per_token"] += [1e3 * s / n for s, n in zip(run["step"], run["tokens"], strict=True)]
                found[name]["peak"].append(run["peak"])
    return found


def make_table(results: dict[str, Any]) -> Table:
    def spread(values: Sequence[float], digits: int) -> str:
        return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"

    table = Table("case", "", "TRL: median (min..max)", "morl: median (min..max)", "TRL / morl")
    for case, found in results.items():
        for part, unit in PARTS.items():
            theirs, ours = (found[name][part] for name in FRAMEWORKS)
            digits = {"CPU s": 2, "CPU ms": 3}.get(unit, 0)
            ratio = f"{statistics.median(theirs) / statistics.median(ours):.2f}x"
            table.add_row(
                case if part == "rollout" else "",
                f"{part.replace('_', ' ')}, {unit}",
                spread(theirs, digits),
                spread(ours, digits),
                f"[bold]{ratio}" if part == "step" else ratio,
                end_section=part == "peak",
            )
    return table


def check_all(cases: Sequence[str], options: Sequence[str], console: Console) -> None:
    """Prints how far morl is from TRL, and ends the command where that is more than rounding."""
    apart = [name for name, distance in _distances(cases, options, console) if not distance <= LIMIT]
    if apart:
        raise SystemExit(f"they differ: {', '.join(apart)}")


def _distances(cases: Sequence[str], options: Sequence[str], console: Console) -> Iterator[tuple[str, float]]:
    """Each as soon as it is known, for all of them take minutes."""
    chunks = [[case] for case in cases] + [list(options[first : first + 6]) for first in range(0, len(options), 6)]
    for number, names in enumerate(chunks):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            if number < len(cases):
                spawn("model", names[0], folder)
                found = {names[0]: spawn("check", names[0], folder)}
            else:
                found = spawn("options", BY_DEFAULT[0], folder, options=names)
        for name, (advantages, gradient) in found.items():
            console.print(f"{name}: advantages within {advantages:.1e}, gradients within {gradient:.1e} of TRL's")
            yield name, max(advantages, gradient)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", nargs="*", choices=list(CASES), default=BY_DEFAULT, metavar="CASE", help=", ".join(CASES)
    )
    parser.add_argument("--steps", type=int, default=3, help="measured steps of each run")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each framework")
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--check", action="store_true", help="compare results in place of times")
    parser.add_argument(
        "--options", nargs="*", choices=list(OPTIONS), metavar="OPTION", help="of --check: " + ", ".join(OPTIONS)
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    options = list(OPTIONS) if given.options is None else given.options
    if given.child:
        child(given.child, given.cases[0], given.folder, given.steps, given.seed, options)
        return

    console, results = Console(width=110), {}
    if given.check:
        check_all(given.cases, options, console)
        return
    for case in given.cases:
        results[case] = compare(case, given.steps, given.repeats)
        console.print(make_table({case: results[case]}))
        if given.json:
            given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
