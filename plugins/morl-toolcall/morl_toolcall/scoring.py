"""How right the predicted calls are: the paper's formula over the best matching of predicted to gold calls."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.optimize import linear_sum_assignment

from morl_toolcall.calls import ToolCall, same_value

LOWEST, HIGHEST = -3.0, 3.0


def score_calls(predicted: Sequence[ToolCall], gold: Sequence[ToolCall]) -> float:
    """Correctness in [-3, 3] (GDPO, arXiv 2601.05242, appendix C, after ToolRL, arXiv 2504.13958).

        r_name  = |N_G & N_P| / |N_G | N_P|                   sets of tool names
        r_param = sum over gold calls of |keys & keys'| / |keys | keys'|
        r_value = number of equal parameter values
        S_max   = 1 + |G| + sum over gold calls of |keys|
        R       = 6 (r_name + r_param + r_value) / S_max - 3  with the matching that maximizes it

    A gold call is matched with one predicted call of the same tool at most, and each predicted call is used once.  Two
    empty sets agree: a call without parameters can score 1 in r_param, and where no call is expected, R is 3 without a
    call and -3 with any.
    """
    names, gold_names = {call.name for call in predicted}, {call.name for call in gold}
    either = names | gold_names
    name_score = len(names & gold_names) / len(either) if either else 1.0
    highest = 1 + len(gold) + sum(len(call.parameters) for call in gold)
    score = name_score + _best_matching(predicted, gold)
    return LOWEST + (HIGHEST - LOWEST) * score / highest


def _best_matching(predicted: Sequence[ToolCall], gold: Sequence[ToolCall]) -> float:
    if not predicted or not gold:
        return 0.0
    scores_GP = [[_agreement(call, reference) for call in predicted] for reference in gold]
    rows, columns = linear_sum_assignment(scores_GP, maximize=True)
    return math.fsum(scores_GP[row][column] for row, column in zip(rows, columns, strict=True))


def _agreement(call: ToolCall, reference: ToolCall) -> float:
    """r_param + r_value of one pair; 0, the same as no match, for different tools."""
    if call.name != reference.name:
        return 0.0
    shared = call.parameters.keys() & reference.parameters.keys()
    either = call.parameters.keys() | reference.parameters.keys()
    equal = sum(same_value(call.parameters[key], reference.parameters[key]) for key in shared)
    return (len(shared) / len(either) if either else 1.0) + equal
