"""The command line of `morl diagnose`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from morl.config.command import CommandParser
from morl.errors import ConfigError
from morl.evaluation.arguments import read_success

ESTIMATORS = ("grpo", "grpo-no-std", "gdpo")
PROMPTS = 128

_DESCRIPTION = """\
Samples completions of the training prompts of CONFIG from the policy as it is, scores them, and prints what each reward
has to learn from, what one reward costs in another, and what the first step of each estimator would push up or down.
Nothing is trained.
"""
_EPILOG = """\
Other arguments of the form --section.key=value override CONFIG, for example --rewards.format.weight=3. Several configs
are merged; later files override earlier ones.
"""


@frozen
class Arguments:
    """What was asked for.

    Attributes:
        estimators: names, besides the config's own.
        prompts: how many are sampled from.
        success: reward -> score from which on a completion is successful.
        output: JSON file of what was found.
        overrides: of the config, as `morl train` takes them.
    """

    estimators: tuple[str, ...]
    prompts: int
    success: Mapping[str, float]
    output: Path | None
    overrides: tuple[str, ...]


def help_text() -> str:
    """Every option of the command."""
    return _parser().format_help()


def read_arguments(arguments: Sequence[str]) -> Arguments:
    """The command line after `morl diagnose CONFIG`.

    Raises:
        ConfigError: an unknown option, or a value that is none.
    """
    options, overrides = _parser().read(arguments)
    if options.prompts < 2:
        raise ConfigError(f"--prompts must be at least 2, for intervals are over prompts; got {options.prompts}")
    if options.output is not None and options.output.is_dir():
        raise ConfigError(f"--output names a file; {options.output} is a folder")
    success = dict(map(read_success, options.success))
    return Arguments(tuple(options.estimators), options.prompts, success, options.output, overrides)


def _parser() -> CommandParser:
    usage = "CONFIG [CONFIG ...] [options] [--section.key=value ...]"
    parser = CommandParser("diagnose", usage=usage, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    names = " ".join(ESTIMATORS)
    add("--estimators", nargs="+", default=list(ESTIMATORS), metavar="NAME", help=f"default: {names}, and CONFIG's own")
    add("--prompts", type=int, default=PROMPTS, metavar="N", help=f"prompts to sample from; default: {PROMPTS}, or all")
    add(
        "--success",
        action="append",
        default=[],
        metavar="REWARD=SCORE",
        help="a completion is successful from this score on; may be given several times. Default: the upper bound of a"
        " reward that has bounds, 1 of one that scores nothing but 0 and 1",
    )
    add("--output", type=Path, metavar="FILE", help="write what was found to this JSON file")
    return parser
