"""The command line of `morl evaluate`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from morl.config.command import CommandParser
from morl.errors import ConfigError

POLICY_KEYS = ("dtype", "attention", "trust_remote_code", "model_args")
"""Of the section `policy`, what can be said about any model."""

_DESCRIPTION = """\
Samples completions of the held-out prompts of CONFIG (its section `evaluation`) from MODEL, scores them with CONFIG's
rewards, and reports means, pass@k and lengths with confidence intervals. MODEL takes the place of CONFIG's policy: a
model folder, a run folder, or the name of a model on the Hugging Face hub. Of a run that has not ended the newest
checkpoint is taken. A run folder alone is evaluated with the config of the run.
"""
_EPILOG = """\
Other arguments of the form --section.key=value override CONFIG, for example --evaluation.samples=8
--evaluation.temperature=0.6 --sampling.max_tokens=4096. Several configs are merged; later files override earlier ones.
"""


@frozen
class Measures:
    """What is measured, besides the mean of every reward.

    Attributes:
        k: of pass@k; None takes 1 and the number of samples.
        success: rewards whose pass@k is wanted -> score from which on a completion counts as successful; empty takes
            the rewards that score nothing but 0 and 1, from 1 on.
        limit: tokens, the end-of-sequence token included; the share of longer responses is measured.
    """

    k: tuple[int, ...] | None = None
    success: Mapping[str, float] = field(factory=dict)
    limit: int | None = None


@frozen
class Arguments:
    """What was asked for.

    Attributes:
        measures: besides the means.
        output: JSON file of the figures.
        samples_file: JSON Lines file of the completions.
        overrides: of the config, as `morl train` takes them.
    """

    measures: Measures
    output: Path | None
    samples_file: Path | None
    overrides: tuple[str, ...]


def help_text() -> str:
    """Every option of the command."""
    return _parser().format_help()


def read_arguments(arguments: Sequence[str]) -> Arguments:
    """The command line after `morl evaluate CONFIG MODEL`.

    Raises:
        ConfigError: an unknown option, or a value that is none.
    """
    options, overrides = _parser().read(arguments)
    for name in (override.partition("=")[0] for override in overrides):
        if name in ("--policy", "--policy.name", "--policy.path"):
            raise ConfigError(
                f"{name} has no effect here: the model is the second argument, morl evaluate CONFIG MODEL"
            )
        if name.startswith("--policy.") and name.split(".")[1] not in POLICY_KEYS:
            raise ConfigError(
                f"{name} has no effect here: MODEL is computed as its folder has it, without adapters or quantisation"
                " of its own; merge an adapter into it first, as morl export does; of the policy's keys"
                f" {', '.join(POLICY_KEYS)} can be set"
            )
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit must be at least 1 token; got {options.limit}")
    measures = Measures(_read_k(options.k), dict(map(read_success, options.success)), options.limit)
    return Arguments(measures, options.output, options.samples_file, overrides)


def _parser() -> CommandParser:
    usage = "CONFIG [CONFIG ...] MODEL | RUN [options] [--section.key=value ...]"
    parser = CommandParser("evaluate", usage=usage, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("--k", metavar="K1,K2", help="the k of pass@k, e.g. 1,4,8; default: 1 and the number of samples")
    add(
        "--success",
        action="append",
        default=[],
        metavar="REWARD=SCORE",
        help="measure pass@k of this reward; a completion passes from this score on; may be given several times."
        " Default: rewards that score nothing but 0 and 1, from 1 on",
    )
    add("--limit", type=int, metavar="TOKENS", help="also report the share of responses with more tokens than this")
    add("--output", type=Path, metavar="FILE", help="write the figures to this JSON file")
    add(
        "--samples_file",
        type=Path,
        metavar="FILE",
        help="write every completion with its scores to this JSON Lines file",
    )
    return parser


def _read_k(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        numbers = (0,)
    if numbers[0] < 1:
        raise ConfigError(f"--k takes whole numbers of at least 1, separated by commas, e.g. 1,4,8; got {text!r}")
    return numbers


def read_success(text: str) -> tuple[str, float]:
    """Reward and score of an option `--success REWARD=SCORE`.

    Raises:
        ConfigError: another form.
    """
    name, _, score = text.rpartition("=")
    try:
        threshold = float(score)
    except ValueError:
        threshold = math.nan
    if not name or not math.isfinite(threshold):
        raise ConfigError(f"--success takes a reward and a score, e.g. correct=1; got {text!r}")
    return name, threshold
