"""What can be said of a part's factory without calling it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import fields, has

from morl import hookspecs
from morl.config import build_parser
from morl.errors import MorlError
from morl.plugins import Registry

PROTOCOLS: Mapping[str, type] = {
    "prompt source": hookspecs.PromptSource,
    "policy source": hookspecs.PolicySource,
    "rollout backend": hookspecs.RolloutBackend,
    "reward provider": hookspecs.RewardProvider,
    "advantage estimator": hookspecs.AdvantageEstimator,
    "policy loss": hookspecs.PolicyLoss,
    "environment": hookspecs.Environment,
    "weighting": hookspecs.Weighting,
    "optimizer": hookspecs.OptimizerBuilder,
    "schedule": hookspecs.Schedule,
}
_STATE = ("state_dict", "load_state_dict")
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "prompt source": ("form_options", *_STATE),
    "policy source": (),
    "rollout backend": ("max_staleness", "in_process", "own_numerics", "sampling_options"),
    "reward provider": (
        *("reward_names", "required_columns", "reward_bounds", "per_completion", "calls_at_a_time"),
        *("needs_reference", "close", *_STATE),
    ),
    "advantage estimator": (
        *("min_group_size", "check_rewards", "check_bounds", "scope", "needs_turns", "weighting"),
        *_STATE,
    ),
    "policy loss": ("top_entropy", "corrects_importance", *_STATE),
    "environment": ("reward_names", "reward_bounds", "required_columns", "tools", "close"),
    "weighting": ("update", "scope", "requires_bounds", "check_rewards", "check_bounds", *_STATE),
    "optimizer": ("sharded",),
    "schedule": ("for_run",),
}
"""What a part may define besides, which morl reads where it is there; a test compares it with the contract."""

_TREES: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "prompt source": lambda name: {"prompts": {"name": name}},
    "policy source": lambda name: {"policy": {"name": name}},
    "rollout backend": lambda name: {"rollout": {"name": name}},
    "reward provider": lambda name: {"rewards": {"reward": {"name": name}}},
    "advantage estimator": lambda name: {"estimator": {"name": name}},
    "policy loss": lambda name: {"loss": {"name": name}},
    "environment": lambda name: {"environment": {"name": name}},
    "weighting": lambda name: {"estimator": {"name": "gdpo", "weighting": {"name": name}}},
    "optimizer": lambda name: {"optimizer": {"name": name}},
    "schedule": lambda name: {"optimizer": {"schedule": {"name": name}}},
}


def unreadable_options(registry: Registry, kind: str, name: str) -> str | None:
    """Why no config could name the part: options without a type, or that morl itself uses; None where one can."""
    try:
        build_parser(_TREES[kind](name), registry)
    except MorlError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - what the parser makes of a stranger's signature
        return f"its options cannot be read: {type(error).__name__}: {error}"
    return None


def missing_members(kind: str, cls: type) -> Iterator[str]:
    """Methods and attributes of the contract that a class lacks, and methods that take other arguments."""
    for name, required in _members(PROTOCOLS[kind]).items():
        own = inspect.getattr_static(cls, name, None)
        if required is None:
            if own is None and name not in _declared(cls):
                yield f"lacks the attribute {name!r}"
        elif own is None or (name == "__call__" and not callable(getattr(cls, name, None))):
            yield f"lacks the method {name}{_shown(required)}"
        elif inspect.isfunction(own):
            try:
                inspect.signature(own).bind(*[object()] * len(required.parameters))
            except TypeError:
                yield f"{name}{_shown(inspect.signature(own))} cannot be called as {name}{_shown(required)}"


def misspelt(kind: str, cls: type) -> Iterator[str]:
    """Public attributes that nobody reads, and that are nearly called like one that morl reads."""
    known = {*OPTIONAL[kind], *_members(PROTOCOLS[kind])}
    there = {name for name in dir(cls) if not name.startswith("_")} | _declared(cls)
    for name in sorted(there - known):
        near = difflib.get_close_matches(name, known - there, n=1, cutoff=0.85)
        if near:
            yield f"has {name!r}, which morl does not read; did you mean {near[0]!r}?"


def _members(protocol: type) -> dict[str, inspect.Signature | None]:
    """Methods of a protocol with their signature, attributes with None."""
    methods = {
        name: inspect.signature(member)
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and (not name.startswith("_") or name == "__call__")
    }
    return {**dict.fromkeys(inspect.get_annotations(protocol)), **methods}


def _declared(cls: type) -> set[str]:
    """Names that its instances have: fields, and what is annotated."""
    names = {field.name for field in fields(cls)} if has(cls) else set()
    return names.union(*(inspect.get_annotations(base) for base in cls.__mro__))


def _shown(signature: inspect.Signature) -> str:
    names = [str(p).partition(":")[0].partition("=")[0].strip() for p in signature.parameters.values()]
    return f"({', '.join(name for name in names if name != 'self')})"
