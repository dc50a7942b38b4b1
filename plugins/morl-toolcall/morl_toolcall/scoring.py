"""How right the predicted calls are, over the best matching of predicted to gold calls.

All sums are exact and rounded once, at the end, so that equal scores are equal floats.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

from attrs import frozen

from morl_toolcall.calls import ToolCall
from morl_toolcall.matching import best_total
from morl_toolcall.values import EXACT, Tolerance

LOWEST, HIGHEST = -3.0, 3.0

Calls: TypeAlias = Sequence[ToolCall]


@frozen
class Agreement:
    """What predicted and gold calls share.

    Of the calls of one tool, those are matched that agree best in r_param + r_value (see `paper_score`), and of equally
    good matchings the one that shares most parameter names counts.

    Attributes:
        names: r_name, the Jaccard index of the sets of tool names; 1 for two empty ones.
        matched: r_param + r_value of the matched calls.
        shared: matched calls, and parameter names that they share.
        predicted: predicted calls, and their parameters.
        gold: gold calls, and their parameters.
    """

    names: Fraction
    matched: Fraction
    shared: int
    predicted: int
    gold: int

    @classmethod
    def of(cls, predicted: Calls, gold: Calls, tolerance: Tolerance = EXACT) -> Agreement:
        """Of these calls."""
        names, gold_names = {call.name for call in predicted}, {call.name for call in gold}
        either = names | gold_names
        matched, shared = Fraction(0), 0
        for name in names & gold_names:
            ours = [call for call in predicted if call.name == name]
            theirs = [call for call in gold if call.name == name]
            tool_matched, tool_shared = _match(ours, theirs, tolerance)
            matched, shared = matched + tool_matched, shared + tool_shared
        overlap = Fraction(len(names & gold_names), len(either)) if either else Fraction(1)
        return cls(overlap, matched, shared, _size(predicted), _size(gold))


def paper_score(agreement: Agreement) -> float:
    """Correctness in [-3, 3] (GDPO, arXiv 2601.05242, appendix C, after ToolRL, arXiv 2504.13958).

        r_name  = |N_G & N_P| / |N_G | N_P|                   sets of tool names
        r_param = sum over gold calls of |keys & keys'| / |keys | keys'|
        r_value = number of equal parameter values
        S_max   = 1 + |G| + sum over gold calls of |keys|
        R       = 6 (r_name + r_param + r_value) / S_max - 3  with the matching that maximizes it

    A gold call is matched with one predicted call of the same tool at most, and each predicted call is used once.  Two
    empty sets agree: a call without parameters can score 1 in r_param, and where no call is expected, R is 3 without a
    call and -3 with any.  Further calls of a tool that was called rightly cost nothing.
    """
    return _scaled(_share(agreement))


def precise_score(agreement: Agreement) -> float:
    """Correctness in [-3, 3]: the paper's share of points, times the share of what was called that was called for.

        R = 6 q (r_name + r_param + r_value) / S_max - 3
        q = sum over matched calls of (1 + |keys & keys'|)  /  sum over predicted calls of (1 + |keys'|)

    It is the paper's R where nothing surplus is called, neither a call nor a parameter.  Where one call is wanted, a
    list of guesses never scores more on average than the best of its guesses by itself, whatever is believed about the
    call that is wanted: q gives each guess no more than its own share of the list.
    """
    if not agreement.predicted:
        return _scaled(_share(agreement))
    return _scaled(_share(agreement) * Fraction(agreement.shared, agreement.predicted))


def surplus_calls(predicted: Sequence[str], gold: Sequence[str]) -> int:
    """Number of calls beyond those wanted, tool by tool; the arguments are the names of the tools called.

    >>> surplus_calls(["buy", "buy", "sell"], ["buy", "now"])
    2
    """
    return (Counter(predicted) - Counter(gold)).total()


def _share(agreement: Agreement) -> Fraction:
    return (agreement.names + agreement.matched) / (1 + agreement.gold)


def _scaled(share: Fraction) -> float:
    return float(Fraction(LOWEST) + Fraction(HIGHEST - LOWEST) * share)


def _size(calls: Calls) -> int:
    return sum(1 + len(call.parameters) for call in calls)


def _match(predicted: Calls, gold: Calls, tolerance: Tolerance) -> tuple[Fraction, int]:
    """Agreement of the best matching of calls of one tool, and what it shares."""
    pairs_GP = [[_pair(call, reference, tolerance) for call in predicted] for reference in gold]
    # Both sums in one integer, the second where it cannot reach the first.
    unit = math.lcm(*(agreement.denominator for row in pairs_GP for agreement, _ in row))
    base = 1 + _size(gold)
    weights_GP = [[int(agreement * unit) * base + shared for agreement, shared in row] for row in pairs_GP]
    total, shared = divmod(best_total(weights_GP), base)
    return Fraction(total, unit), shared


def _pair(call: ToolCall, reference: ToolCall, tolerance: Tolerance) -> tuple[Fraction, int]:
    """r_param + r_value of two calls of one tool, and 1 + the number of parameter names they share."""
    shared = call.parameters.keys() & reference.parameters.keys()
    either = call.parameters.keys() | reference.parameters.keys()
    equal = sum(tolerance.same(call.parameters[key], reference.parameters[key]) for key in shared)
    return (Fraction(len(shared), len(either)) if either else Fraction(1)) + equal, 1 + len(shared)
