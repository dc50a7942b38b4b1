"""`morl plugins` and `morl plugins doctor`: what is installed, what it offers, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from morl.console import Parser, wants_help
from morl.errors import ConfigError
from morl.plugins import Registry

if TYPE_CHECKING:
    from rich.table import Table

HELP = """\
usage: morl plugins [--plugins.disable=NAME[,NAME ..]]
       morl plugins doctor [NAME ..] [--seconds=S]

Lists the installed plugins: the parts that each offers by kind, the hooks it observes, and for a plugin that could not
be loaded the reason.  What the option switches off is shown as such.

doctor looks closer, at all plugins or those named: requirements that are not met, imports, import paths of parts, names
taken twice, options that no config could set, methods that are missing or take other arguments; and holds every part to
the laws of its kind, for S seconds of processor time (2; 0: none).  The exit code is 1 if something is wrong, else 0;
notes count for nothing.  `pytest --morl-plugin NAME` tries all laws, and more of each.
"""
_OPTION = "--plugins.disable="
_COLOURS = {"ok": "green", "note": "yellow", "error": "bold red"}


def plugins(arguments: list[str]) -> int:
    """Prints a table of the installed plugins, or what is wrong with them."""
    if wants_help(arguments):
        print(HELP, end="")
        return 0
    if arguments and arguments[0] == "doctor":
        return _doctor(arguments[1:])
    for argument in arguments:
        if not argument.startswith(_OPTION):
            raise ConfigError(f"morl plugins takes `doctor`, or {_OPTION}NAME[,NAME ..]; got {argument}")
    names = [name.strip() for argument in arguments for name in argument.removeprefix(_OPTION).strip("[]").split(",")]
    registry = Registry(disable=[name for name in names if name])
    try:
        from rich.console import Console
    except ModuleNotFoundError:  # the base distribution does without it
        print("\n".join(_lines(registry)))
    else:
        Console().print(_table(registry))
    return 0


def _lines(registry: Registry) -> Iterator[str]:
    for plugin in registry.plugins:
        yield f"{plugin.name} ({plugin.label})"
        yield from (f"  {kind}: {', '.join(names)}" for kind, names in plugin.offers.items())
        if plugin.observes:
            yield f"  observes: {', '.join(plugin.observes)}"
        if plugin.error is not None:
            yield f"  failed to load: {plugin.error}"
        if plugin.disabled:
            yield "  switched off by plugins.disable"


def _table(registry: Registry) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("plugin", "distribution", "offers", title="Plugins", show_lines=True)
    for plugin in registry.plugins:
        offers = [f"[bold]{kind}[/]: {', '.join(names)}" for kind, names in plugin.offers.items()]
        if plugin.observes:
            offers.append(f"[bold]observes[/]: {', '.join(plugin.observes)}")
        if plugin.error is not None:
            offers.append(f"[bold red]failed to load[/]: {escape(plugin.error)}")
        if plugin.disabled:
            offers.append("[bold yellow]switched off[/] by plugins.disable")
        table.add_row(plugin.name, plugin.label, "\n".join(offers))
    return table


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _doctor(arguments: list[str]) -> int:
    from rich.console import Console
    from rich.markup import escape

    from morl.authoring.doctor import examine
    from morl.authoring.trials import find_plugin

    parser = Parser("plugins doctor")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args(arguments)
    if not 0 <= options.seconds <= 3600:
        raise ConfigError(f"morl plugins doctor: --seconds must lie in [0, 3600]; got {options.seconds:g}")
    registry, console, wrong = Registry(), Console(highlight=False, soft_wrap=True), 0
    chosen = [find_plugin(registry, name) for name in options.names] or registry.plugins[1:]
    for plugin in chosen:
        console.print(f"[bold]{escape(plugin.label)}[/]")
        for finding in examine(registry, plugin, options.seconds):
            text = escape(finding.text).replace("\n", "\n         ")
            console.print(f"  [{_COLOURS[finding.grade]}]{finding.grade:5}[/]  {text}")
            wrong += finding.grade == "error"
    console.print(f"{_counted(len(chosen), 'plugin')}, {_counted(wrong, 'error')}")
    return 1 if wrong else 0
