"""States of parts as plain values, which checkpoints hold and ranks compare."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from morl.errors import PluginError

_PLAIN = (int, float, bool, str, bytes, type(None))


def plain_state(value: Any, label: str, at: str = "state") -> Any:
    """A copy of a state, on the CPU, of plain values only: what `torch.load(weights_only=True)` reads.

    Raises:
        PluginError: a value of another class; the message begins with `label` and says where it is.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in (torch.Tensor, torch.nn.Parameter):
        return value.detach().to("cpu", copy=True)
    if kind in (dict, OrderedDict):
        for key in value:
            if type(key) not in (str, int):
                raise PluginError(f"{label}: {at} has the key {key!r}; keys of a state are texts or integers")
        return {key: plain_state(inner, label, f"{at}[{key!r}]") for key, inner in value.items()}
    if kind in (list, tuple):
        return kind(plain_state(inner, label, f"{at}[{number}]") for number, inner in enumerate(value))
    raise PluginError(
        f"{label}: {at} is a {kind.__module__}.{kind.__qualname__}; a state consists of dicts, lists, tuples, tensors,"
        " numbers, texts and None, so that it can be read without running foreign code"
    )


def same(first: Any, second: Any) -> bool:
    """Whether two plain states are equal, tensors and floats to the last bit."""
    if type(first) is not type(second):
        return False
    if isinstance(first, Tensor):
        equal = first.shape == second.shape and first.dtype == second.dtype
        return equal and bool(((first == second) | ((first != first) & (second != second))).all())
    if isinstance(first, dict):
        return [*first] == [*second] and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second or (first != first and second != second))
