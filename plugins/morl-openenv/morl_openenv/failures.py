"""How an episode on a server can fail."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Kinds of failure."""

    CONNECTION = "connection"
    """The server cannot be reached, or broke off."""
    TIMEOUT = "timeout"
    """No answer in time."""
    CAPACITY = "capacity"
    """The server has as many sessions as it takes."""
    EXECUTION = "execution"
    """The environment on the server raised, in a step, at a reset or when it was made."""
    REFUSED = "refused"
    """The server does not understand the message: an option of the config is wrong."""
    ANSWER = "answer"
    """The answer is not what the protocol says: no JSON, no observation, a reward that is no number."""


class OpenEnvError(Exception):
    """A failure of one episode, which is over then: its session is closed and never stepped again.

    Attributes:
        kind: what happened.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class OpenEnvTimeout(OpenEnvError, TimeoutError):
    """A server that did not answer in time."""

    def __init__(self, message: str) -> None:
        super().__init__(Kind.TIMEOUT, message)


class RejectedAction(Exception):
    """The server refused an action because it does not fit the environment's schema; the session goes on."""
