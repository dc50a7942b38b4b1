"""How asking a judge about one completion can fail."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Kinds of failure."""

    TIMEOUT = "timeout"
    """No answer in the time of one request, or of the batch."""
    CONNECTION = "connection"
    """The server cannot be reached, or broke off."""
    RATE_LIMIT = "rate-limit"
    """Status 429, too many requests."""
    SERVER = "server"
    """A status of 500 and above."""
    REFUSED = "refused"
    """Status 401, 403 or 404: the key, the model or the address is wrong."""
    REQUEST = "request"
    """Any other status that is not 200."""
    BODY = "body"
    """The body is no chat completion: cut off, no JSON, without text."""
    GRADE = "grade"
    """The judge answered, and its answer holds no grade that can be read."""


_RETRIED = {Kind.TIMEOUT, Kind.CONNECTION, Kind.RATE_LIMIT, Kind.SERVER, Kind.BODY}


class JudgeError(Exception):
    """A failure for one completion.

    Attributes:
        kind: what happened.
        retry_after: seconds after which the server wants to be asked again; None where it does not say.
    """

    def __init__(self, kind: Kind, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether another try may succeed."""
        return self.kind in _RETRIED
