"""The tool worlds of a task: file system, vehicle, travel agency, .., which calls change.

BFCL carries calls out by evaluating their text in its process.  Here the public methods of its classes are called with
arguments that were parsed, which gives the same results.
"""

from __future__ import annotations

import contextlib
import copy
import decimal
import inspect
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import mpmath
from attrs import frozen

from morl_bfcl.calls import bits
from morl_bfcl.entries import Entry
from morl_bfcl.package import world_class

_STATELESS = "MathAPI"
_PRECISION = threading.Lock()
LARGEST_POWER = 100_000
"""Bits of the largest power of a whole number that is computed."""
MOST_DIGITS = 10_000
"""Digits of the highest precision, or of rounding, that is computed with."""
_PRECISIONS = {"logarithm": "precision", "square_root": "precision", "round_number": "decimal_places"}


@frozen
class Result:
    """What came of a call.

    Attributes:
        text: the result, as BFCL writes it.
        failed: it raised, called what is not there, or the tool answered with an error.
    """

    text: str
    failed: bool


@frozen(eq=False)
class World:
    """Instances of the classes of one task.

    Attributes:
        instances: by the name of their class.
        methods: what may be called, by name; of a name that two classes have, the later class's.
    """

    instances: Mapping[str, Any]
    methods: Mapping[str, Callable[..., Any]]

    @classmethod
    def begin(cls, entry: Entry) -> World:
        """As the task begins; nothing is shared with another world of the same task."""
        instances = {}
        for name in entry.classes:
            instances[name] = world_class(name)()
            if name != _STATELESS:
                config = copy.deepcopy(entry.config.get(name, {}))
                instances[name]._load_scenario(config, long_context=entry.long_context)
        methods = {
            name: method
            for instance in instances.values()
            for name, method in inspect.getmembers(instance, inspect.ismethod)
            if not name.startswith("_")
        }
        return cls(instances, methods)

    def call(self, name: str, arguments: Mapping[Any, Any], positional: Sequence[Any] = ()) -> Result:
        """Carries a call out; whatever it does, there is a result."""
        method = self.methods.get(name)
        if method is None:
            return _failure(f"name {name.partition('.')[0]!r} is not defined")
        if _is_costly(name, arguments):
            return _failure(f"the numbers of {name} are too large to compute with")
        # What a tool keeps of its arguments must not be the reply's own.
        positional, arguments = copy.deepcopy((list(positional), dict(arguments)))
        try:
            with _own_precision():
                value = method(*positional, **arguments)
                return Result(_text(value), isinstance(value, dict) and "error" in value)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises, the policy reads
            return _failure(str(error))

    def equals(self, expected: World) -> bool:
        """Whether all public attributes are those of another world of the same task."""
        return all(
            getattr(self.instances[name], attribute) == value
            for name, instance in expected.instances.items()
            for attribute, value in vars(instance).items()
            if not attribute.startswith("_")
        )


def _failure(message: str) -> Result:
    return Result(f"Error during execution: {message}", True)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        try:
            return json.dumps(value)
        except (TypeError, ValueError):  # numbers of high precision, for one
            return str(value)
    return str(value)


@contextlib.contextmanager
def _own_precision() -> Iterator[None]:
    """Some tools set the precision of mpmath, which is the whole process's, and of decimal, the thread's."""
    with _PRECISION, mpmath.workdps(mpmath.mp.dps), decimal.localcontext():
        yield


def _is_costly(name: str, arguments: Mapping[Any, Any]) -> bool:
    """Whether a maths tool would compute for minutes, or fill the memory."""
    if name == "power":
        base, exponent = arguments.get("base"), arguments.get("exponent")
        if isinstance(base, int) and isinstance(exponent, int):
            return bits(base) * abs(exponent) > LARGEST_POWER
        return False
    try:
        return not abs(float(arguments.get(_PRECISIONS.get(name, ""), 0))) <= MOST_DIGITS
    except (TypeError, ValueError):  # no number: the tool says so
        return False
    except OverflowError:
        return True
