"""The errors that users meet.

Every message says what was expected, what came and what to do.  The command line prints a `MorlError` without a
traceback and exits with code 2; anything else is a defect of morl or of a plugin and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_REFUSED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE})
_REFUSED_TEXTS = tuple(os.strerror(number) for number in sorted(_REFUSED))
"""What libraries that are not Python's say in place of the number."""


class MorlError(Exception):
    """Base of every error that is the input's fault, or a plugin's, rather than morl's."""


class ConfigError(MorlError, ValueError):
    """A configuration that cannot be run: unknown key, wrong type, settings that contradict each other."""


class PluginError(MorlError):
    """A plugin that is missing, broken, or breaks the contract of `morl.hookspecs`."""


class DataError(MorlError, ValueError):
    """Prompts, columns, tokenizers or model folders that cannot be used as configured."""


class UntrustedError(DataError):
    """A checkpoint that holds what would have to be run, so that resuming from it once more helps nobody."""


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


@contextmanager
def asking(label: str, did: str = "failed", *, leave: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Around a call of somebody's part: whatever it raises becomes an error that names the part.

    So does `sys.exit()`, with which a part would end a run as if it had finished.

    Args:
        label: what errors call the part.
        did: what an exception means, in the sentence "<label> <did>: <exception>".
        leave: exceptions that pass as they are.

    Raises:
        PluginError: anything but an error of morl, which keeps its kind.
    """
    try:
        yield
    except leave:
        raise
    except MorlError as error:
        raise type(error)(f"{label}: {error}") from error
    except BaseException as error:
        if not is_theirs(error):
            raise
        raise PluginError(f"{label} {did}: {told(error)}") from error


def is_theirs(error: BaseException) -> bool:
    """Whether somebody's code means it: no interrupt and no signal, of which SIGTERM's is a kind of `SystemExit`."""
    return isinstance(error, Exception) or type(error) is SystemExit


def suggest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`"; did you mean 'x'?"` for a name near one of `known`, by difflib's ratio, else an empty string.

    >>> suggest("gpdo", ["grpo", "gdpo"])  # the same letters are nearer than another one
    "; did you mean 'gdpo'?"
    """
    names = list(known)
    near = [each for each in names if sorted(each) == sorted(name)] or (
        difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    )
    return f"; did you mean {near[0]!r}?" if near else ""


def refusal_of(error: BaseException) -> str | None:
    """How a file system refused what was to be written, if that is what `error` or an error behind it says.

    Full, over quota, a file too large, read-only, or gone; not what the right path or permissions would mend.
    """
    at: BaseException | None = error
    seen: set[int] = set()
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        if isinstance(at, OSError):
            if at.errno in _REFUSED:
                return str(at)
        elif any(text in str(at) for text in _REFUSED_TEXTS):
            return f"{type(at).__name__}: {at}"
        at = at.__cause__ or at.__context__
    return None
