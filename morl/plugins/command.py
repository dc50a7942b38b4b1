"""`morl plugins`: what is installed, what it offers, what failed to load and why."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from morl.console import wants_help
from morl.errors import ConfigError
from morl.plugins.registry import Registry

HELP = """\
usage: morl plugins [--plugins.disable=NAME[,NAME ..]]

Lists the installed plugins: the parts that each offers by kind, the hooks it observes, and for a plugin that could not
be loaded the reason.  What the option switches off is shown as such.
"""


def plugins(arguments: list[str]) -> int:
    """Prints a table of the installed plugins."""
    if wants_help(arguments):
        print(HELP, end="")
        return 0
    option = "--plugins.disable="
    for argument in arguments:
        if not argument.startswith(option):
            raise ConfigError(f"morl plugins takes no arguments but {option}NAME[,NAME ..]; got {argument}")
    names = [name.strip() for argument in arguments for name in argument.removeprefix(option).strip("[]").split(",")]
    registry = Registry(disable=[name for name in names if name])
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
    Console().print(table)
    return 0
