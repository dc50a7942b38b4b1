"""Functions that a policy may call: `tools: ["examples/calculator.py:add", "examples/calculator.py:divide"]`."""

from __future__ import annotations


def add(a: float, b: float) -> float:
    """Adds two numbers.

    Args:
        a: the first.
        b: the second.
    """
    return a + b


async def divide(a: float, b: float) -> float:
    """Divides one number by another.

    Args:
        a: what is divided.
        b: what it is divided by, not 0.
    """
    return a / b
