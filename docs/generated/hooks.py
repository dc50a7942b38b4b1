"""The contract: hooks, what their factories make, and the classes that they are given and return."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from generated.options import plural
from morl import hookspecs
from morl.authoring.contract import PROTOCOLS
from morl.hookspecs import REGISTERING_HOOKS, observers
from morl.types import (
    Advantages,
    Completion,
    CompletionStatus,
    EncodedPrompt,
    EnvironmentAnswer,
    Prompt,
    RewardMatrix,
    RewardScores,
    RolloutBatch,
    Sampling,
    TokenBatch,
    TokenLosses,
    Turn,
)

_TYPES = (
    Prompt,
    EncodedPrompt,
    Sampling,
    RolloutBatch,
    Completion,
    Turn,
    CompletionStatus,
    EnvironmentAnswer,
    RewardScores,
    RewardMatrix,
    Advantages,
    TokenBatch,
    TokenLosses,
)


def registering_hooks() -> Iterator[str]:
    """Each hook, and what its factories make."""
    for kind, hook in REGISTERING_HOOKS.items():
        yield from ("", f"### {plural(kind)}", "")
        yield from _source(getattr(hookspecs, hook))
        yield from _source(PROTOCOLS[kind])
        if kind == "environment":
            yield from _source(hookspecs.Episode)


def examples_hook() -> Iterator[str]:
    """The hook that is never asked in a run."""
    yield from _source(hookspecs.morl_register_examples)


def observer_hooks() -> Iterator[str]:
    """Each observer."""
    for hook in observers():
        yield from _source(getattr(hookspecs, hook))


def hook_types() -> Iterator[str]:
    """The classes that hooks are given and return."""
    for cls in _TYPES:
        yield from (f"### {cls.__name__}", "", "```text")
        yield from (inspect.getdoc(cls) or "").splitlines()
        yield from ("```", "")


def _source(thing: Any) -> Iterator[str]:
    source = inspect.getsource(thing)
    source = re.sub(r"^@\w+\n", "", source, flags=re.MULTILINE)
    yield from ("```python", re.sub(r"  # type: ignore\[[\w-]+\]", "", source).rstrip(), "```", "")
