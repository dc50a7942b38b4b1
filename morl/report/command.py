"""`morl report`, `morl explain`, `morl replay`, `morl audit`: what a run folder says, without a model."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from morl.artifacts.folder import RunFolder
from morl.console import Parser, wants_help
from morl.errors import ConfigError, DataError
from morl.report.text import printable

if TYPE_CHECKING:
    from morl.report.view import View

HELP = {
    "report": """\
usage: morl report RUN [--output=FILE]

Writes one self-contained HTML page of the run folder RUN: a verdict on every reward, transcripts, curves. It needs no
other file, no script and no network. Without --output it is RUN/report.html.
""",
    "explain": """\
usage: morl explain RUN [--step=N] [--completion=I]

Without --completion: a verdict on every reward, with three completions of the last samples. With it: how the rewards of
one completion, counted from 0 in its samples file, became its advantage. --step is the file's, the last by default.
""",
    "replay": """\
usage: morl replay RUN [--estimator=NAME] [--set OPTION=VALUE ..] [--step=N] [--rows=N]

Computes the advantages of a logged step under an estimator, morl's own or a plugin's, beside those that the run had;
without a model; without --estimator under the run's own. --set sets an option of the estimator, or with
weights.<reward> a weight; values are read as YAML. The batch that is normalised is what the file has: a part of it
under training.samples_limit.
""",
    "analyze": """\
usage: morl analyze ESTIMATOR [ESTIMATOR ..] [--group-size=G[,G..]] [--rewards=K] [--levels=L]
                    [--weights=W1,W2,..] [--set OPTION=VALUE ..]

Counts the distinct groups of advantages, order within a group aside, over all groups of G completions whose K rewards
have the values 0 to L - 1; exactly where they fit, otherwise by random pairs of groups, with the error of the estimate.
2, 4 and 8 completions, 2 rewards of 2 levels by default; --weights are those of the K rewards, 1 each by default.
""",
    "audit": """\
usage: morl audit RUN

Checks each reward (scored, failing, never right, saturated, constant, crowded out, falling), the growth of the
completions, how many are truncated, and the log-probability difference. The exit code is 0 if no check fails, and 1
otherwise.
""",
}


def _view(folder: Path) -> View:
    from morl.report.view import read_view  # and scipy, which --help need not wait for

    return read_view(folder)


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


def _parser(command: str) -> Parser:
    parser = Parser(command)
    parser.add_argument("run", type=Path)
    return parser


def _asked_for_help(command: str, arguments: Sequence[str]) -> bool:
    if not wants_help(arguments) and arguments:
        return False
    print(HELP[command], end="")
    return True


def report(arguments: list[str]) -> int:
    """Writes the page of a run."""
    if _asked_for_help("report", arguments):
        return 0
    parser = _parser("report")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    output = RunFolder(given.run).page if given.output is None else given.output
    if output.is_dir():
        raise ConfigError(f"--output names a file; {output} is a folder")

    from morl.report.page import render

    text = render(_view(given.run))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{output} cannot be written: {error}; name another file with --output") from error
    print(output)
    return 0


def explain(arguments: list[str]) -> int:
    """Prints the verdicts, or how one completion got its advantage."""
    if _asked_for_help("explain", arguments):
        return 0
    parser = _parser("explain")
    parser.add_argument("--step", type=_natural)
    parser.add_argument("--completion", type=_natural)
    given = parser.parse_args(arguments)
    if given.step is not None and given.completion is None:
        raise ConfigError("morl explain: --step says which file a completion is in; name one with --completion")

    from morl.report.explain import explained, overview

    view = _view(given.run)
    text = overview(view) if given.completion is None else explained(view, given.step, given.completion)
    print(printable(text))
    return 0


def replay(arguments: list[str]) -> int:
    """Prints the advantages of a logged step under another estimator."""
    if _asked_for_help("replay", arguments):
        return 0
    parser = _parser("replay")
    parser.add_argument("--estimator")
    parser.add_argument("--set", action="append", default=[], type=_setting, metavar="OPTION=VALUE")
    parser.add_argument("--step", type=_natural)
    parser.add_argument("--rows", type=_natural, default=8)
    given = parser.parse_args(arguments)
    view = _view(given.run)

    from morl.report.replay import replay as replayed
    from morl.report.replay import table

    found = replayed(view, view.samples(given.step), given.estimator, dict(given.set))
    print(printable(table(found, given.rows)))
    return 0


def analyze(arguments: list[str]) -> int:
    """Prints how many groups of advantages estimators tell apart."""
    if _asked_for_help("analyze", arguments):
        return 0
    parser = Parser("analyze")
    parser.add_argument("estimators", nargs="+")
    parser.add_argument("--group-size", type=_sizes, default=[2, 4, 8])
    parser.add_argument("--rewards", type=_positive)
    parser.add_argument("--weights", type=_weights)
    parser.add_argument("--levels", type=_positive, default=2)
    parser.add_argument("--set", action="append", default=[], type=_setting, metavar="OPTION=VALUE")
    given = parser.parse_args(arguments)

    weights = given.weights or [1.0] * (given.rewards or 2)
    if given.rewards not in (None, len(weights)):
        raise ConfigError(f"morl analyze: --weights has {len(weights)} numbers, and --rewards={given.rewards}")

    from morl.report.analyze import distinct_groups
    from morl.report.analyze import report as both

    tables = distinct_groups(given.estimators, given.group_size, given.levels, weights, dict(given.set))
    print(both(given.estimators, *tables))
    return 0


def _positive(text: str) -> int:
    if not 0 < (number := _natural(text)) < 1000:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 999, got {text!r}")
    return number


def _weights(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, got {text!r}")
    return found


def _sizes(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"expected OPTION=VALUE with a value in YAML, got {text!r}") from error
    if not key or not equals or (isinstance(read, float) and not math.isfinite(read)):
        raise argparse.ArgumentTypeError(f"expected OPTION=VALUE, got {text!r}")
    if isinstance(read, str):  # to YAML 1.1 the number 1e-6, without a point, is a text
        with contextlib.suppress(ValueError):
            read = float(read)
    return key, read


def audit(arguments: list[str]) -> int:
    """Prints the checks; the exit code is 1 if one fails."""
    if _asked_for_help("audit", arguments):
        return 0
    given = _parser("audit").parse_args(arguments)

    from morl.report.audit import audit as checked
    from morl.report.audit import report as lines

    checks = checked(_view(given.run))
    print(printable(lines(checks)))
    return int(any(check.passed is False for check in checks))
