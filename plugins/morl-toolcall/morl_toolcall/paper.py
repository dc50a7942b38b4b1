"""The default graders: the paper's definitions, with every open question decided (see the README)."""

from __future__ import annotations

from functools import lru_cache

from morl.errors import DataError
from morl_toolcall.calls import ToolCall
from morl_toolcall.parsing import Fields, find_calls, parse
from morl_toolcall.scoring import LOWEST, score_calls


@lru_cache(maxsize=4096)
def read_gold(gold: str) -> Fields:
    """The fields of a reference answer; its thinking is optional.

    Raises:
        DataError: it is not in the form that completions are asked for.
    """
    fields = parse(gold) if isinstance(gold, str) else None
    if fields is None:
        raise DataError(
            "the reference answer must be [<think>..</think>] then <tool_call> with one JSON object"
            ' {"name": .., "parameters": {..}} per line </tool_call> and/or <response>..</response>;'
            f" got {str(gold)[:200]!r}"
        )
    return fields


def format_score(text: str, gold: str, *, think: bool = True) -> float:
    """1 if `text` is in the form and has the fields that the reference answer has, else 0.

    Args:
        think: whether the thinking must be there; it may be in any case.

    Raises:
        DataError: a reference answer that cannot be read.
    """
    wanted, fields = read_gold(gold), parse(text)
    if fields is None or (think and not fields.think):
        return 0.0
    return float((fields.calls is None) == (wanted.calls is None) and fields.response == wanted.response)


def correctness(text: str, gold: str, *, lenient: bool = True) -> float:
    """How right the calls of `text` are, in [-3, 3]; see `score_calls`.

    Args:
        lenient: grade calls in whatever form they come; otherwise a completion that is not in the form (the thinking
            apart) scores -3.

    Raises:
        DataError: a reference answer that cannot be read.
    """
    gold_calls = read_gold(gold).calls or ()
    calls: tuple[ToolCall, ...] | None
    if lenient:
        calls = find_calls(text)
    else:
        fields = parse(text)
        if fields is None:
            return LOWEST
        calls = fields.calls
    return score_calls(calls or (), gold_calls)
