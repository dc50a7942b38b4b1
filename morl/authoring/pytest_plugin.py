"""`pytest --morl-plugin NAME`: an installed plugin is held to the laws, without a line of test.

pytest loads this module wherever morl is installed, so it imports nothing else of morl before the option is given.
With the option and no paths, these checks are all that is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from morl.authoring.trials import Found

OPTION = "--morl-plugin"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    parser.getgroup("morl").addoption(
        OPTION,
        action="append",
        default=[],
        metavar="NAME",
        help="check this installed plugin of morl, by its name or its distribution's, against morl's contract; may be"
        " given more than once; without paths nothing else is run",
    )


def pytest_configure(config: pytest.Config) -> None:
    """With the option alone, no files are collected."""
    if config.getoption(OPTION) and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the checks before what was collected, so that `-k` chooses among them, too."""
    names: list[str] = config.getoption(OPTION)
    items[:0] = [item for name in dict.fromkeys(names) for item in _items(session, name)]


def _items(session: pytest.Session, name: str) -> Iterator[pytest.Item]:
    from morl._version import DISTRIBUTION
    from morl.errors import MorlError

    try:
        from morl.authoring.trials import find_plugin, trials
        from morl.plugins import Registry

        registry = Registry()
        plugin = find_plugin(registry, name)
        found = trials(registry, plugin)
    except MorlError as error:
        raise pytest.UsageError(f"{OPTION}: {error}") from error
    except ModuleNotFoundError as error:
        needed = f"{error.name} is not installed: pip install '{DISTRIBUTION}[testing]'"
        raise pytest.UsageError(f"{OPTION}: {needed}") from error
    if not found:
        raise pytest.UsageError(f"{OPTION}: {plugin.label} offers no part that could be tried")
    for each in found:
        yield LawItem.of(session, plugin.distribution, each)


class LawItem(pytest.Item):
    """One law of one part."""

    found: Found

    @classmethod
    def of(cls, session: pytest.Session, distribution: str, found: Found) -> LawItem:
        """As an item beside those of files."""
        law = getattr(found, "law", "untried")
        name = f"{found.part.kind} {found.part.name} - {law}"
        item: LawItem = cls.from_parent(session, name=name, nodeid=f"{distribution}::{name}")
        item.found = found
        return item

    def runtest(self) -> None:
        """Tries it."""
        reason = getattr(self.found, "reason", None)
        if reason is not None:
            pytest.skip(reason)
        self.found.run(None)  # type: ignore[union-attr]  # a trial, which has no reason

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The law, the smallest example that breaks it, and the page that explains it; a traceback of what is else."""
        if not isinstance(excinfo.value, AssertionError):
            return super().repr_failure(excinfo)
        notes = getattr(excinfo.value, "__notes__", ())
        return "\n".join([str(excinfo.value), *notes, f"explained in {self.found.page}"])  # type: ignore[union-attr]

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it stands, which is in no file."""
        return self.path, None, self.nodeid
