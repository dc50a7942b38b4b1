"""The errors that users meet.

Every message says what was expected, what came and what to do.  The command line prints a `MorlError` without a
traceback and exits with code 2; anything else is a defect of morl or of a plugin and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MorlError(Exception):
    """Base of every error that is the input's fault, or a plugin's, rather than morl's."""


class ConfigError(MorlError, ValueError):
    """A configuration that cannot be run: unknown key, wrong type, settings that contradict each other."""


class PluginError(MorlError):
    """A plugin that is missing, broken, or breaks the contract of `morl.hookspecs`."""


class DataError(MorlError, ValueError):
    """Prompts, columns, tokenizers or model folders that cannot be used as configured."""


class RewardError(MorlError, ValueError):
    """A reward that returned something that is not a score, or failed under the policy `raise`."""


class RolloutError(MorlError, RuntimeError):
    """A rollout backend that could not generate, or whose weights could not be brought up to date."""


class TrainingError(MorlError, RuntimeError):
    """A run whose numbers stopped making sense."""


def told(error: BaseException) -> str:
    """Its kind and what it says; somebody's exception may be unable to say anything.

    >>> told(ValueError("no such city"))
    'ValueError: no such city'
    """
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a __str__ is code
        return f"{type(error).__name__}: (it has no text)"


def suggest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for a name near one of `known`, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
