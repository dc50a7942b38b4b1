"""State of the parts in checkpoints: by path in the config, in a form that can be read without running foreign code."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

from morl.errors import PluginError, asking
from morl.hookspecs import Stateful
from morl.runtime.exchange import Exchange
from morl.runtime.parts import Parts
from morl.states import plain_state, same

Saved: TypeAlias = dict[str, dict[str, Any]]
"""By path: `part`, the class; `states`, one for all ranks or one for each."""

_ALIKE = ("estimator", "estimator.weighting")
"""Parts that see the whole batch on every rank, so that their states must be the same."""


def save_states(parts: Parts, exchange: Exchange) -> Saved:
    """The state of every part that has one.  Every rank must call.

    Raises:
        PluginError: a state that is not made of plain values, a part that fails, or an estimator or weighting whose
            state differs from rank to rank.
    """
    own = {path: _state(parts.label(path), part) for path, part in parts.stateful().items()}
    if not own:
        return {}
    of_ranks = exchange.gather(own)
    saved: Saved = {}
    for path, part in parts.stateful().items():
        states = [states[path] for states in of_ranks]
        if all(same(states[0], state) for state in states[1:]):
            states = states[:1]
        elif path in _ALIKE:
            raise PluginError(
                f"the state of {parts.label(path)} is not the same on all ranks, though it saw the same batches; it"
                " must follow from the rewards alone, not from a clock, a set's order, or random numbers"
            )
        saved[path] = {"part": _class(part), "states": states}
    return saved


def load_states(parts: Parts, saved: Mapping[str, Any], exchange: Exchange) -> None:
    """Hands every part the state that it had.

    A part without a saved state begins anew, and a state without its part is left out, each with a warning: the config
    of a resumed run may name another estimator.

    Raises:
        PluginError: a part refuses its state, or states differ by rank and the number of ranks has changed.
    """
    stateful = parts.stateful()
    for path in dict.fromkeys((*saved, *stateful)):
        entry, part = saved.get(path), stateful.get(path)
        if entry is None or part is None or entry["part"] != _class(part):
            left = "" if entry is None else f"; the state of {entry['part']} in the checkpoint is left out"
            begins = "nothing here has a state" if part is None else f"{_class(part)} begins without one"
            warnings.warn(f"{path}: {begins}{left}", stacklevel=2)
            continue
        states = entry["states"]
        if len(states) not in (1, exchange.size):
            raise PluginError(
                f"{parts.label(path)} has a state on each of the {len(states)} ranks of the checkpoint, and there are"
                f" {exchange.size} now; resume with as many processes as before"
            )
        state = states[exchange.rank if len(states) > 1 else 0]
        with asking(parts.label(path), "refused the state of its checkpoint"):
            part.load_state_dict(state)


def _state(label: str, part: Stateful) -> dict[str, Any]:
    with asking(label, "could not give its state"):
        state: object = part.state_dict()
    if not isinstance(state, Mapping):
        raise PluginError(f"{label}: state_dict() must return a mapping; got {type(state).__name__}")
    plain: dict[str, Any] = plain_state(dict(state), label)
    return plain


def _class(part: object) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}"
