"""Options of a command that takes overrides of a config beside them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from attrs import fields_dict

from morl.config import foreign
from morl.config.schema import Config
from morl.errors import ConfigError, suggest


class CommandParser(argparse.ArgumentParser):
    """Of `morl NAME`; says what is wrong the way the other commands do."""

    def __init__(self, name: str, *, usage: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=f"morl {name}",
            usage=f"morl {name} {usage}",
            description=description,
            epilog=epilog,
            add_help=False,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.prog}: {message}; see {self.prog} --help")

    def read(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
        """The command's own options, and what is left: overrides of the config.

        Raises:
            ConfigError: a value that is none, or an option that is neither the command's nor a key of the config.
        """
        options, overrides = self.parse_known_args(list(arguments))
        own = [option for action in self._actions for option in action.option_strings]
        for argument in overrides:
            name = argument.partition("=")[0]
            key = name.removeprefix("--")
            if argument.startswith("--") and "." not in key and key not in fields_dict(Config):
                near = suggest(name, own) or "".join(f"; {found}" for found in foreign.hints(key))
                raise ConfigError(f"unknown option {name}{near}; see {self.prog} --help")
        return options, tuple(overrides)
