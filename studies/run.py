"""Runs the studies and publishes what they found: `python studies/run.py [NAME ...]`; without names, all of them but
those that need vLLM (`make studies-vllm`) and the experiments of `experiments.py`, which are tuned before they run.

A study is a grid of runs (`morl compare`) in `runs/studies/NAME`.  Finished runs are kept, so that an interrupted study
goes on where it stopped.  What is published is small and committed: `studies/NAME/results.json` and the plots beside
it; `python docs/generate.py` then brings the tables of docs/explanation/studies.md up to date.

`python studies/run.py --redraw [NAME ...]` runs nothing: it draws the plots of what is published again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import experiments
from attrs import evolve

from morl.analysis.figures import save_study_plots
from morl.analysis.results import Results
from morl.cli import main as morl

HERE = Path(__file__).resolve().parent
THREE, FIVE, TEN = (("--seeds", *map(str, range(count))) for count in (3, 5, 10))
GRIDS: dict[str, tuple[str, ...]] = {
    "tool-calling": (*FIVE, "--vary", "policy.task_options.formatted_slips=0.2,0.8"),
    "weights": (
        *FIVE,
        *("--primary", "format:0:1,correctness:-3:3"),
        *("--declare", "grpo, format weight 3 - grpo, format weight 1: format"),
        *("--declare", "gdpo - grpo, format weight 3: primary"),
        *("--equivalence", "0.02"),
    ),
    "math": (*FIVE, "--vary", "rewards.brief.weight=1,0.75,0.5,0.25"),
    "code": FIVE,
    "toolrl": THREE,
    "backends": TEN,
}
"""What `morl compare` is told besides the config and the arms."""
ENGINE = ("backends",)
"""They need vLLM, which has an environment of its own, and run where they are named only."""
PLOTS = ("rewards-held-out", "pareto", "setting-")
"""What the page of the studies shows; the report has more."""
MOST_REWARDS = 3
"""Of a plot of final rewards against each other, which draws every pair; the page has none of more."""


def arguments(name: str) -> list[str]:
    """Of `morl compare`.  The policy has an SFT initialisation with the seed of the run, once for all arms: pairs."""
    folder = f"studies/{name}"
    return [
        *("compare", f"{folder}/config.yaml", "--arms", f"{folder}/arms.yaml"),
        *("--output", f"runs/{folder}", "--seed_also", "policy.seed"),
        *GRIDS[name],
    ]


def experiment(name: str) -> int:
    """Tunes an experiment, unless its settings are frozen already, and runs it; the exit code."""
    frozen = HERE / name / "tuned.yaml"
    if experiments.EXPERIMENTS[name].prompts is not None and not frozen.is_file():
        if code := morl(experiments.tuning_arguments(name)):
            return code
        shutil.copy(HERE.parent / "runs" / "studies" / f"{name}-tuning" / "tuned.yaml", frozen)
    return morl(experiments.arguments(name))


def publish(name: str) -> None:
    """Writes down here what the page shows of a study's results, and draws its plots."""
    results = Results.load(HERE.parent / "runs" / "studies" / name / "results.json")
    (HERE / name).mkdir(exist_ok=True)
    (HERE / name / "results.json").write_text(small(results).to_json(), encoding="utf-8")
    draw(name)


def draw(name: str) -> None:
    """The plots of a study's published results."""
    results = Results.load(HERE / name / "results.json")
    for old in (HERE / name).glob("*.svg"):
        old.unlink()
    for plot in save_study_plots(HERE / name / "results.json", HERE / name):
        if not is_shown(plot.name, results):
            plot.unlink()


def is_shown(plot: str, results: Results) -> bool:
    """Whether the page of the studies has a plot."""
    return plot.startswith(PLOTS) and (not plot.startswith("pareto") or len(results.rewards) <= MOST_REWARDS)


def small(results: Results) -> Results:
    """Without curves of training batches and diagnostics, and without comparisons of areas: the report has them."""
    lines = (evolve(line, curves={**line.curves, "training": {}}, collapse={}) for line in results.lines)
    comparisons = (found for found in results.comparisons if found.measure == "final")
    return evolve(results, lines=tuple(lines), comparisons=tuple(comparisons))


def main() -> int:
    """0, 1 if a study could not be finished, or 130 when interrupted."""
    names = ["counts", *GRIDS, *experiments.EXPERIMENTS]
    by_default = [name for name in names if name not in (*ENGINE, *experiments.EXPERIMENTS)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*names, []], metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument("--redraw", action="store_true", help="draw what is published again, and run nothing")
    given = parser.parse_args()
    if given.redraw:
        there = [name for name in names if name != "counts" and (HERE / name / "results.json").is_file()]
        for name in given.names or there:
            draw(name)
        return 0
    unfinished = []
    for name in given.names or by_default:
        if name == "counts":
            subprocess.run([sys.executable, str(HERE / "counts" / "run.py")], check=True)
        elif name in ENGINE and find_spec("vllm") is None:
            print(f"the study {name!r} needs vLLM, which is not installed here: make studies-vllm", file=sys.stderr)
            unfinished.append(name)
        elif (code := experiment(name) if name in experiments.EXPERIMENTS else morl(arguments(name))) == 0:
            publish(name)
        elif code == 130:
            return code
        else:
            unfinished.append(name)
    if unfinished:
        print(f"not finished: {', '.join(unfinished)}", file=sys.stderr)
    return int(bool(unfinished))


if __name__ == "__main__":
    sys.exit(main())
