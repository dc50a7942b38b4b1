"""What a comparison asks of a computer algebra system, so that it can be had without one."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

from morl_math.structure import Chain, Shape


class Undecided(Exception):
    """It takes algebra, and there is none here."""


class Algebra(Protocol):
    """What needs a computer algebra system.

    Any method may raise a ValueError for a text that cannot be read.
    """

    def same(self, first: str, second: str, by: Fraction) -> bool:
        """Whether the first expression equals the second times `by`."""

    def close(self, exact: str, rounded: str) -> bool:
        """Whether a decimal number is an expression's, rounded."""

    def sets(self, first: Shape, second: Shape) -> bool:
        """Whether two sets of real numbers, or solutions of inequalities, are equal."""

    def relations(self, first: Chain, second: Chain) -> bool:
        """Whether two equations or inequalities say the same."""


class NoAlgebra:
    """Decides nothing."""

    def same(self, first: str, second: str, by: Fraction) -> bool:
        raise Undecided

    def close(self, exact: str, rounded: str) -> bool:
        raise Undecided

    def sets(self, first: Shape, second: Shape) -> bool:
        raise Undecided

    def relations(self, first: Chain, second: Chain) -> bool:
        raise Undecided
