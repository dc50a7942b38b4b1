"""The experiments E1 to E7: what each tunes, varies and declares, frozen before any of it runs.

The same rules for all: every arm is tuned alike, on seeds and prompts of its own; then ten fresh seeds, 256 held-out
prompts with 8 completions each, at most four declared contrasts, and a margin of .02 within which a difference is none.
E6 and E7, whose runs take minutes, are not tuned, and have fewer seeds.
An experiment without a file `tuned.yaml` is tuned first, which writes it; with the file it runs with what that says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import evolve, frozen

HERE = Path(__file__).resolve().parent
TUNING_SEEDS = ("100", "101")
SEEDS = tuple(map(str, range(10)))
MARGIN = "0.02"
LEARNING_RATES = "optimizer.lr=2.5e-4,5e-4,1e-3"
SMALL_WEIGHTS = "rewards.format.weight=1,3,6"
OWN_PROMPTS = (
    *("--prompts.skip=0", "--prompts.size=256"),
    "--evaluation.prompts={name: playground-tool-calling, split: train, skip: 256, size: 64}",
)
"""Of the tuning: none of them is among those of the experiments, which begin at 320 of the same order."""


@frozen
class Experiment:
    """One of them.

    Attributes:
        primary: the primary metric, as `--primary` takes it.
        declared: contrasts.
        tune: settings that every arm gets its best value of.
        prompts: overrides that give the tuning prompts of its own; None where there are none to spare, so that the
            experiment runs with the settings of its config.
        seeds: of its runs.
        seed_also: further keys that take the seed.
        config: folder of its config and arms; None is that of its own name.
        overrides: of its config.
    """

    primary: str
    declared: tuple[str, ...]
    tune: tuple[str, ...] = (LEARNING_RATES,)
    prompts: tuple[str, ...] | None = OWN_PROMPTS
    seeds: tuple[str, ...] = SEEDS
    seed_also: tuple[str, ...] = ("policy.seed",)
    config: str | None = None
    overrides: tuple[str, ...] = ()


FORMAT_AND_CONTENT = "format:0:1,correctness:-3:3"
GPU = (
    *("--trainer.accelerator=gpu", "--trainer.precision=bf16-mixed", "--optimizer.lr=5e-4"),
    *("--training.steps=100", "--training.prompts_per_step=20", "--training.group_size=16"),
)
"""What a GPU has room for."""
_REAL = Experiment(
    "brief:0:1,used:0:32",
    (
        "gdpo - grpo: brief",
        "grpo, brief weight 6 - grpo: brief",
        "gdpo - grpo, brief weight 6: primary",
        "conditioned gdpo - gdpo: primary",
    ),
    prompts=None,
    seeds=SEEDS[:3],
    seed_also=(),
)
EXPERIMENTS = {
    # Planned were slips of .2, .4, .6 and .8 for each of five arms, 560 runs of 80 steps.  Cut before the first one to
    # the slips that a contrast names, and to the 50 steps of the other experiments: 196 runs.
    "e1": Experiment(
        FORMAT_AND_CONTENT,
        (
            "gdpo, slips .8 - grpo, slips .8: primary",
            "gdpo, slips .8 - grpo, equal ranges, slips .8: primary",
            "gdpo, slips .8 - grpo, batch std, slips .8: primary",
            "gdpo, slips .2 - grpo, slips .2: primary",
        ),
        tune=(LEARNING_RATES, SMALL_WEIGHTS),
    ),
    # Planned were 2, 3 and 5 rewards, groups of 4 and 8, and every estimator in each: 288 runs.  Cut before the first
    # one to the arms that a declared contrast names.  With five rewards the metric is the mean of five, so that it is a
    # study of its own.
    "e2": Experiment(
        "tool:0:1,number:0:1,word:0:1",
        ("gdpo - quantised-gdpo: primary", "gdpo - grpo: primary"),
    ),
    "e2-five": Experiment(
        "tool:0:1,number:0:1,word:0:1,opened:0:1,whole:0:1",
        ("gdpo, G 8 - quantised-gdpo, G 8: primary", "gdpo, G 4 - quantised-gdpo, G 4: primary"),
    ),
    "e3": Experiment(
        FORMAT_AND_CONTENT,
        (
            "gdpo - grpo, times 1/6: primary",
            "gdpo - grpo, times 1/2: primary",
            "gdpo - grpo: primary",
            "gdpo - grpo, times 6: primary",
        ),
    ),
    "e4": Experiment(
        FORMAT_AND_CONTENT,
        (
            "gdpo, judge - grpo, judge: primary",
            "gdpo, judge - gdpo: primary",
            "gdpo, coin - grpo, coin: primary",
            "gdpo - grpo: primary",
        ),
    ),
    "e5": Experiment(
        FORMAT_AND_CONTENT,
        ("grpo, KL in the reward - grpo: primary", "grpo, KL in the reward - grpo: format"),
    ),
    "e5-loss": Experiment(FORMAT_AND_CONTENT, ("gdpo, KL in the loss - grpo, KL in the loss: primary",)),
    # Planned were ten seeds and grpo-no-std.  Cut before the first run, for one takes minutes.
    "e6": Experiment(
        FORMAT_AND_CONTENT,
        ("gdpo - grpo: primary", "gdpo - grpo: correctness"),
        prompts=None,
        seeds=SEEDS[:5],
    ),
    "e7": _REAL,
    "e7-gpu": evolve(_REAL, seeds=SEEDS[:5], config="e7", overrides=GPU),
}


def tuning_arguments(name: str) -> list[str]:
    """Of the `morl compare` that tunes an experiment."""
    experiment = EXPERIMENTS[name]
    return [
        *_start(name, f"runs/studies/{name}-tuning"),
        *(
            "--arms",
            _file(name, "arms.yaml"),
            "--seeds",
            *TUNING_SEEDS,
            "--primary",
            experiment.primary,
        ),
        *_each("--tune", experiment.tune),
        *(experiment.prompts or ()),
    ]


def arguments(name: str) -> list[str]:
    """Of the `morl compare` that runs an experiment, with the arms of its `tuned.yaml` where it is tuned."""
    experiment = EXPERIMENTS[name]
    tuned = experiment.prompts is not None
    arms = ("--tuned", f"studies/{name}/tuned.yaml") if tuned else ("--arms", _file(name, "arms.yaml"))
    return [
        *_start(name, f"runs/studies/{name}"),
        *(*arms, "--seeds", *experiment.seeds, "--primary", experiment.primary),
        *_each("--declare", experiment.declared),
        *("--equivalence", MARGIN),
        *experiment.overrides,
    ]


def _start(name: str, output: str) -> Sequence[str]:
    experiment = EXPERIMENTS[name]
    also = ("--seed_also", *experiment.seed_also) if experiment.seed_also else ()
    return ("compare", _file(name, "config.yaml"), "--output", output, *also)


def _file(name: str, file: str) -> str:
    return f"studies/{EXPERIMENTS[name].config or name}/{file}"


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]
