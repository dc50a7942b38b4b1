"""The command line of `morl compare`."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import frozen

from morl.config.command import CommandParser
from morl.errors import ConfigError

Keep: TypeAlias = Literal["nothing", "models", "checkpoints"]
DEFAULT_SEEDS = (0, 1, 2, 3, 4)

_DESCRIPTION = """\
Trains CONFIG once for every combination of arms, varied settings and seeds, several at a time, each in a process and a
run folder of its own, and writes a report. The same command resumes where it was stopped, and only runs what is new
when seeds, arms or values were added.
"""
_EPILOG = """\
Other arguments of the form --section.key=value override CONFIG in every run. Values are read as YAML. Several configs
are merged; later files override earlier ones.
"""


@frozen
class Arguments:
    """What was asked for.

    Attributes:
        estimators: names; each is an arm that sets `estimator.name`.
        arms: YAML file of further arms.
        vary: `key=value,value,...`, one per varied setting.
        tune: as `vary`, of settings from whose values each arm is to get its best.
        tuned: file of the arms that a tuning grid has left.
        declare: contrasts, `ARM - ARM: REWARD`.
        equivalence: margin within which differences count as none.
        primary: rewards and their ranges, as `read_primary` takes them.
        seeds: of the cells.
        seed_also: further keys that take the seed.
        jobs: cells at a time; None takes as many as the machine has cores or GPUs for.
        keep: what stays of finished cells, besides their metrics, evaluations and samples.
        report_only: write the report of what is finished and run nothing.
        output: folder of the study; None takes the config's.
        overrides: of the config, as `morl train` takes them.
    """

    estimators: tuple[str, ...]
    arms: Path | None
    vary: tuple[str, ...]
    tune: tuple[str, ...]
    tuned: Path | None
    declare: tuple[str, ...]
    equivalence: float | None
    primary: str | None
    seeds: tuple[int, ...]
    seed_also: tuple[str, ...]
    jobs: int | None
    keep: Keep
    report_only: bool
    output: str | None
    overrides: tuple[str, ...]


def help_text() -> str:
    """Every option of the command."""
    return _parser().format_help()


def read_arguments(arguments: Sequence[str]) -> Arguments:
    """The command line after `morl compare CONFIG`.

    Raises:
        ConfigError: an unknown option, a value that is none.
    """
    options, overrides = _parser().read(arguments)
    if any(override.partition("=")[0] == "--seed" for override in overrides):
        raise ConfigError("--seed: a study has several; give --seeds 0 1 2 ...")
    if options.jobs is not None and options.jobs < 1:
        raise ConfigError(f"--jobs is the number of runs at a time, at least 1; got {options.jobs}")
    if options.equivalence is not None and not 0 < options.equivalence < math.inf:
        raise ConfigError(f"--equivalence is a margin above 0, in units of the reward; got {options.equivalence:g}")
    if options.tune:
        _refuse_while_tuning(options)
    return Arguments(
        estimators=tuple(options.estimators),
        arms=options.arms,
        vary=tuple(options.vary),
        tune=tuple(options.tune),
        tuned=options.tuned,
        declare=tuple(options.declare),
        equivalence=options.equivalence,
        primary=options.primary,
        seeds=tuple(options.seeds),
        seed_also=tuple(options.seed_also),
        jobs=options.jobs,
        keep=options.keep,
        report_only=options.report_only,
        output=options.output,
        overrides=overrides,
    )


def _refuse_while_tuning(options: Namespace) -> None:
    for name in ("declare", "equivalence", "tuned"):
        if getattr(options, name):
            raise ConfigError(
                f"--{name} has no effect with --tune: a tuning grid chooses settings and gives no verdicts; the study"
                " with --tuned gives them, on other seeds and prompts"
            )


def _parser() -> CommandParser:
    usage = "CONFIG [CONFIG ...] [options] [--section.key=value ...]"
    parser = CommandParser("compare", usage=usage, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("--estimators", nargs="+", default=[], metavar="NAME", help="one arm per estimator, named after it")
    add("--arms", type=Path, metavar="FILE", help="YAML mapping from the label of an arm to the settings it changes")
    add(
        "--vary",
        action="append",
        default=[],
        metavar="KEY=V1,V2",
        help="run every arm with each of these values; given several times, with every combination",
    )
    _add_plan(parser)
    add("--seeds", nargs="+", type=int, default=list(DEFAULT_SEEDS), metavar="N", help="default: 0 1 2 3 4")
    add(
        "--seed_also",
        nargs="+",
        default=[],
        metavar="KEY",
        help="further keys that take the seed, such as policy.seed of a policy that is made per seed",
    )
    add("--jobs", type=int, metavar="N", help="runs at a time; default: as many as there are cores or GPUs for")
    add(
        "--keep",
        choices=("nothing", "models", "checkpoints"),
        default="models",
        help="what stays of a finished run besides metrics, evaluations and samples: nothing, the model (default), or"
        " model and checkpoints",
    )
    add("--report_only", action="store_true", help="write the report of the runs that are finished; run nothing")
    add("--output", metavar="FOLDER", help="folder of the study; default: `output` of CONFIG")
    return parser


def _add_plan(parser: CommandParser) -> None:
    """What a study is about, and where its settings come from."""
    add = parser.add_argument
    add(
        "--declare",
        action="append",
        default=[],
        metavar="CONTRAST",
        help="a contrast that the study is about, 'ARM - ARM: REWARD', named before it runs; may be given several"
        " times. Verdicts are about these, corrected for their number; without any, about all comparisons",
    )
    add(
        "--equivalence",
        type=float,
        metavar="MARGIN",
        help="also conclude, where the runs allow it, that a difference is no larger than this",
    )
    add(
        "--primary",
        metavar="REWARD:LOW:HIGH,...",
        help="add the metric 'primary', the mean of these rewards, each rescaled from its range to [0, 1]",
    )
    add(
        "--tune",
        action="append",
        default=[],
        metavar="KEY=V1,V2",
        help="as --vary, to choose from: FOLDER/tuned.yaml gets each arm with the values that ended highest in the"
        " primary metric, or in the only reward",
    )
    add(
        "--tuned",
        type=Path,
        metavar="FILE",
        help="take the arms from the tuned.yaml of a tuning grid; its seeds and prompts are refused in this study",
    )
