"""The command line: finds the command by its name and calls it.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pkgutil import resolve_name

from morl import _extras, _namesake, progress
from morl._version import DISTRIBUTION, __version__
from morl.console import Command, call, wants_help
from morl.errors import ConfigError, suggest

ENTRY_POINT_GROUP = "morl.commands"
"""Commands that plugins bring: functions of the arguments that return the exit code."""

COMMANDS = {
    "train": "morl.training.command:train",
    "resume": "morl.training.command:resume",
    "diagnose": "morl.diagnosis.command:diagnose",
    "compare": "morl.compare.command:compare",
    "evaluate": "morl.evaluation.command:evaluate",
    "estimators": "morl.integrations.command:estimators",
    "export": "morl.export.command:export",
    "plugins": "morl.authoring.command:plugins",
    "new-plugin": "morl.authoring.new:new_plugin",
    "report": "morl.report.command:report",
    "explain": "morl.report.command:explain",
    "replay": "morl.report.command:replay",
    "analyze": "morl.report.command:analyze",
    "audit": "morl.report.command:audit",
}
"""Name -> the function behind it, as plugins name theirs."""
_EXTRA = dict.fromkeys(("report", "explain", "replay", "analyze", "audit", "estimators"), "report") | {
    "diagnose": "evaluate",
    "evaluate": "evaluate",
    "new-plugin": "template",
}
"""What a command needs of the extras, where it is not the trainer."""
_QUICK = frozenset({"plugins", "new-plugin"})
"""Commands that answer at once; `morl plugins doctor` does not."""

_SLOW_HELP = frozenset({"estimators"})
"""Commands in a package that imports PyTorch."""

USAGE = """\
morl trains language models on several rewards at once.

usage: morl COMMAND [ARGUMENTS]

commands:
  train CONFIG [--section.key=value ...]    train a policy as the YAML file CONFIG says; of several, later ones win
  train CONFIG --print_config               print the resolved config and stop
  train [CONFIG] --help[=SECTION]           the settings, with the values and the parts of CONFIG; --help=all: every one
  resume FOLDER [--section.key=value ...]   resume the run in FOLDER from its newest checkpoint
  diagnose CONFIG [options]                 what the first step would push up or down; samples, and trains nothing
  compare CONFIG [options] [--section...]   train a grid of arms, settings and seeds, and report what differs
  export RUN [options]                      write a checkpoint of a run as a model folder that transformers loads
  evaluate CONFIG MODEL [options]           score a model on the held-out prompts of CONFIG, with confidence intervals
  report RUN [--output=FILE]                write one HTML page of a run: verdicts on its rewards, transcripts, curves
  explain RUN [options]                     why a reward is or is not learned; how one completion got its advantage
  replay RUN --estimator=NAME [options]     advantages of a logged step under another estimator, without a model
  analyze ESTIMATOR [options]               how many groups of advantages estimators tell apart, counted exactly
  audit RUN                                 check rewards, lengths and log-probabilities of a run; exit code 1 for CI
  estimators compare [RUN] [options]        advantages beside those of other trainers, on logged or random rewards
  plugins                                   what is installed, what it offers, what failed to load and why
  plugins doctor [NAME ..]                  what is wrong with the installed plugins; exit code 1 for CI
  new-plugin NAME --kind=KIND [options]     write a plugin as a distribution that passes its own tests

options:
  --help         this text
  --version      the version of morl
  --traceback    show where an error came from
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, or 2 for an error in the input, 130 when interrupted, 143 by SIGTERM."""
    return call(_dispatch, sys.argv[1:] if argv is None else argv)


def _dispatch(arguments: list[str]) -> int:
    if _namesake.hides_us():
        raise ConfigError(_namesake.found() or f"the module 'morl' that Python finds is not that of {DISTRIBUTION}")
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(USAGE, end="")
        if entries := entry_points(group=ENTRY_POINT_GROUP):
            print("\ncommands of plugins, each with a --help of its own:")
            print("\n".join(f"  {entry.name}    ({entry.dist.name})" for entry in entries if entry.dist is not None))
        return 0
    if arguments[0] == "--version":
        print(f"morl {__version__}")
        return 0
    name, *rest = arguments
    _begin(name, rest)
    try:
        return _find(name)(rest)
    except ModuleNotFoundError as error:
        if (needed := _extras.what_to_install(error, f"`morl {name}`", _EXTRA.get(name, "train"))) is not None:
            raise ConfigError(needed) from error
        raise


def _begin(name: str, rest: list[str]) -> None:
    """Says that a command has begun, where it imports PyTorch, which takes seconds, before it can say more."""
    if name not in COMMANDS:  # a plugin's, of which nobody knows what it imports, for its help also
        slow = bool(rest) and name in {entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}
    else:
        slow = (name not in _QUICK or rest[:1] == ["doctor"]) and bool(rest)
        slow = slow and (name in _SLOW_HELP or not wants_help(rest))
    if slow:
        what = "" if rest[0].startswith("-") else f" {rest[0]}"
        progress.say(f"morl {name}{what}: loading PyTorch and what else it needs")


def _find(name: str) -> Command:
    if name in COMMANDS:
        command: Command = resolve_name(COMMANDS[name])
        return command
    offered = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in offered:
        known = [*COMMANDS, *offered]
        raise ConfigError(f"unknown command {name!r}{suggest(name, known)}; commands: {', '.join(known)}")
    loaded: Command = offered[name].load()
    return loaded
