"""The secret that trainer and rollout servers share."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable

VARIABLE = "MORL_ROLLOUT_KEY"
"""Where both find it: an environment variable, for configs are kept and shown."""


def rollout_key() -> str | None:
    """The key, None where it is not set or empty."""
    return os.environ.get(VARIABLE) or None


def is_authorised(headers: Iterable[tuple[bytes, bytes]], key: str) -> bool:
    """Whether these headers hold `Authorization: Bearer KEY`, compared in constant time.

    >>> is_authorised([(b"authorization", b"Bearer secret")], "secret"), is_authorised([], "secret")
    (True, False)
    """
    given = [value for name, value in headers if name.lower() == b"authorization"]
    return len(given) == 1 and hmac.compare_digest(given[0], f"Bearer {key}".encode())
