"""What the checks of single parts share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from morl.errors import ConfigError, suggest
from morl.states import plain_state, same


class LawBroken(AssertionError):
    """A part breaks a law; the message names the law and shows the smallest example that was found."""


def drawn(max_examples: int) -> settings:
    """How Hypothesis draws the examples of a law: the same ones on every run, shrunk, without a limit of time."""
    return settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow],
    )


def held(laws: Mapping[str, str], without: Collection[str]) -> dict[str, str]:
    """The laws, by name with their statement, that a check holds a part to.

    Raises:
        ConfigError: `without` names a law that does not exist.
    """
    for name in without:
        if name not in laws:
            raise ConfigError(f"unknown law {name!r}{suggest(name, laws)}; there are: {', '.join(laws)}")
    return {name: statement for name, statement in laws.items() if name not in without}


@contextmanager
def judged(part: object, law: str, statement: str, example: str = "") -> Iterator[None]:
    """Turns whatever goes wrong inside into a `LawBroken` that names the part and the law, and shows the example."""
    try:
        yield
    except LawBroken:
        raise
    except Exception as error:
        fault = str(error) if isinstance(error, AssertionError) else f"it raised {type(error).__name__}: {error}"
        raise LawBroken(f"{part!r} breaks the law {law!r}: {statement}\n{fault}\n{example}".rstrip()) from error


def state_of(part: Any) -> Any:
    """A copy of its state, None where it has none."""
    if not hasattr(part, "state_dict"):
        return None
    state = part.state_dict()
    assert isinstance(state, Mapping), f"state_dict() returned {type(state).__name__}; expected a mapping"
    return plain_state(dict(state), type(part).__name__)


def restored(factory: Callable[[], Any], part: Any) -> Any:
    """A new part with the state of `part`, after a look at whether the state came through."""
    assert hasattr(part, "load_state_dict"), "it has state_dict() but no load_state_dict()"
    state = state_of(part)
    other = factory()
    other.load_state_dict(plain_state(state, "state"))
    assert same(state_of(other), state), f"saved {state}, restored {state_of(other)}"
    return other
