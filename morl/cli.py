"""The command line: `morl train`, `morl resume`, `morl plugins`.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from morl._version import __version__
from morl.errors import ConfigError, MorlError, suggest

COMMANDS = "morl.commands"
"""Entry-point group of commands that plugins bring: functions of the arguments that return the exit code."""

USAGE = """\
morl trains language models on several rewards at once.

usage: morl COMMAND [ARGUMENTS]

commands:
  train CONFIG [--section.key=value ...]    train a policy as the YAML file CONFIG says; of several, later ones win
  train CONFIG --print_config               print the resolved config and stop
  train CONFIG --help                       every setting, with the options of the parts that CONFIG names
  resume FOLDER [--section.key=value ...]   go on with the run in FOLDER from its newest checkpoint
  compare CONFIG [options] [--section...]   train a grid of arms, settings and seeds, and report what differs
  evaluate CONFIG MODEL [options]           score a model on the held-out prompts of CONFIG, with confidence intervals
  plugins                                   what is installed, what it offers, what failed to load and why

options:
  --help         this text
  --version      the version of morl
  --traceback    show where an error came from
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, or 2 for an error in the input, 130 when interrupted, 143 by SIGTERM."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in arguments or os.environ.get("MORL_TRACEBACK") == "1"
    arguments = [argument for argument in arguments if argument != "--traceback"]
    try:
        return _dispatch(arguments)
    except MorlError as error:
        if traceback:
            raise
        text = "\n".join([str(error), *getattr(error, "__notes__", ())])
        Console(stderr=True).print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True, highlight=False)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted")
        return 130


def _dispatch(arguments: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": _train,
        "resume": _resume,
        "compare": _compare,
        "evaluate": _evaluate,
        "plugins": _plugins,
    }
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(USAGE, end="")
        if entries := entry_points(group=COMMANDS):
            print("\ncommands of plugins, each with a --help of its own:")
            print("\n".join(f"  {entry.name}    ({entry.dist.name})" for entry in entries if entry.dist is not None))
        return 0
    if arguments[0] == "--version":
        print(f"morl {__version__}")
        return 0
    name, *rest = arguments
    if name not in commands:
        offered = {entry.name: entry for entry in entry_points(group=COMMANDS)}
        if name not in offered:
            known = [*commands, *offered]
            raise ConfigError(f"unknown command {name!r}{suggest(name, known)}; commands: {', '.join(known)}")
        commands[name] = offered[name].load()
    return commands[name](rest)


def _train(arguments: list[str]) -> int:
    from morl.config import help_text, merge, parse, read_configs, to_yaml
    from morl.plugins import Registry

    wants_help = any(argument in ("--help", "-h") for argument in arguments)
    print_config = "--print_config" in arguments
    arguments = [argument for argument in arguments if argument not in ("--help", "-h", "--print_config")]
    paths, tree, overrides = read_configs(arguments)
    if not paths and not wants_help:
        raise ConfigError("morl train needs a config: morl train CONFIG.yaml [--section.key=value ...]")
    tree = merge(tree, overrides)
    if wants_help:
        # Without a config there is no telling which parts to describe; those with a default are shown.
        given = frozenset() if paths else frozenset({"prompts", "policy"})
        print(help_text(tree, Registry(), given), end="")
        return 0
    if print_config:
        print(to_yaml(parse(tree, Registry())), end="")
        return 0
    return _run(tree, resume=False)


def _resume(arguments: list[str]) -> int:
    from morl.config import merge, read_yaml

    if not arguments or arguments[0].startswith("--"):
        raise ConfigError("morl resume needs the folder of a run: morl resume FOLDER [--section.key=value ...]")
    folder, *overrides = arguments
    config = Path(folder) / "config.yaml"
    if not config.is_file():
        raise ConfigError(f"{folder} is not the folder of a run: it has no config.yaml")
    tree = merge(read_yaml(config), overrides)
    # The folder may have been moved since.
    return _run({**tree, "output": folder}, resume=True)


def _run(tree: dict[str, object], *, resume: bool) -> int:
    from morl.config import parse
    from morl.plugins import Registry

    # Before Lightning and transformers are imported: a mistyped key should not take seconds to be told.
    config = parse(tree, Registry())

    from morl.training import train
    from morl.training.callbacks import results_table

    console = Console(stderr=True)
    try:
        result = train(config, resume=resume)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning turns an interrupt into exit(1), and SIGTERM, as schedulers send it, into one without a code.
        terminated = isinstance(stop, SystemExit) and stop.code is None
        if isinstance(stop, SystemExit) and not terminated and stop.code != 1:
            raise
        console.print(f"stopped; {_way_on(config.output) or 'no step was finished'}", soft_wrap=True)
        return 143 if terminated else 130
    except MorlError as error:
        way_on = _way_on(config.output)
        if way_on and not isinstance(error, ConfigError):
            error.add_note(way_on)
        raise
    if result.is_first_rank:
        if result.evaluations:
            first, last = min(result.evaluations), max(result.evaluations)
            evaluations = result.evaluations
            console.print(results_table(evaluations[first], evaluations[last], result.rewards, last))
        console.print(f"run folder: {result.folder}\nmodel:      {result.model}", soft_wrap=True, highlight=False)
    return 0


def _way_on(output: str) -> str:
    """How to go on with a run that ended too soon; empty where it left no checkpoint."""
    kept = any(Path(output, "checkpoints").glob("step-*.ckpt"))
    return f"go on from the newest checkpoint with: morl resume {output}" if kept else ""


def _compare(arguments: list[str]) -> int:
    from morl.compare.command import main as compare

    return compare(arguments)


def _evaluate(arguments: list[str]) -> int:
    from morl.evaluation.command import main as evaluate

    return evaluate(arguments)


def _plugins(arguments: list[str]) -> int:
    from morl.plugins import Registry

    if arguments:
        raise ConfigError(f"morl plugins takes no arguments; got {' '.join(arguments)}")
    registry = Registry()
    table = Table("plugin", "distribution", "offers", title="Plugins", show_lines=True)
    for plugin in registry.plugins:
        offers = [f"[bold]{kind}[/]: {', '.join(names)}" for kind, names in plugin.offers.items()]
        if plugin.observes:
            offers.append(f"[bold]observes[/]: {', '.join(plugin.observes)}")
        if plugin.error is not None:
            offers.append(f"[bold red]failed to load[/]: {escape(plugin.error)}")
        table.add_row(plugin.name, plugin.label, "\n".join(offers))
    Console().print(table)
    return 0
