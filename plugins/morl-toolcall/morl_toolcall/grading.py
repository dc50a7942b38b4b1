"""The graders of morl: the form, and correctness by the formulas `precise` and `paper` (see the README)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

from morl.errors import ConfigError, DataError
from morl_toolcall.calls import PLAIN, Forms, ToolCall
from morl_toolcall.parsing import Fields, parse
from morl_toolcall.reading import read
from morl_toolcall.scoring import HIGHEST, LOWEST, Agreement, paper_score, precise_score, surplus_calls
from morl_toolcall.values import EXACT, Tolerance

Formula: TypeAlias = Literal["precise", "paper"]


@lru_cache(maxsize=4096)
def read_gold(gold: str, forms: Forms = PLAIN) -> Fields:
    """The fields of a reference answer; its thinking is optional.

    Raises:
        DataError: it is not in the form that completions are asked for.
    """
    fields = parse(gold, forms) if isinstance(gold, str) else None
    if fields is None:
        raise DataError(
            "the reference answer must be [<think>..</think>] then <tool_call> with one JSON object"
            ' {"name": .., "parameters": {..}} per line </tool_call> and/or <response>..</response>;'
            f" got {str(gold)[:200]!r}"
        )
    return fields


def format_score(text: str, gold: str, *, think: bool = True, forms: Forms = PLAIN) -> float:
    """1 if `text` is in the form and has the fields that the reference answer has, else 0.

    Args:
        think: whether the thinking must be there; it may be in any case.
        forms: in which calls may be written, besides the plain one; reference answers, too.

    Raises:
        DataError: a reference answer that cannot be read.
    """
    wanted, fields = read_gold(gold, forms), parse(text, forms)
    if fields is None or (think and not fields.think):
        return 0.0
    return float((fields.calls is None) == (wanted.calls is None) and fields.response == wanted.response)


def correctness(
    text: str,
    gold: str,
    *,
    lenient: bool = True,
    variant: Formula = "precise",
    forms: Forms = PLAIN,
    tolerance: Tolerance = EXACT,
) -> float:
    """How right the calls of `text` are, in [-3, 3].

    Where no call is expected, both formulas give -3 to a call.  Without a call, `paper` gives 3 to any text, and
    `precise` only to one that responds, with a `<response>` that ends and is not blank, and no `<tool_call>`; 0 to all
    others.

    Args:
        lenient: grade calls in whatever form they come; otherwise a completion that is not in the form (the thinking
            apart) scores -3.
        variant: `precise_score` or `paper_score`.
        forms: in which calls may be written, besides the plain one; reference answers, too.
        tolerance: which differences between values do not count.

    Raises:
        DataError: a reference answer that cannot be read.
        ConfigError: an unknown variant.
    """
    if variant not in ("precise", "paper"):
        raise ConfigError(f"variant must be 'precise' or 'paper'; got {variant!r}")
    gold_calls = read_gold(gold, forms).calls or ()
    if not lenient and parse(text, forms) is None:
        return LOWEST
    reading = read(text, forms)
    if variant == "precise" and not gold_calls and not reading.calls:
        return HIGHEST if reading.responded and not reading.block else 0.0
    agreement = Agreement.of(reading.calls, gold_calls, tolerance)
    return precise_score(agreement) if variant == "precise" else paper_score(agreement)


def surplus(text: str, gold: str, *, lenient: bool = True, forms: Forms = PLAIN) -> int:
    """Number of calls beyond those of the reference answer, tool by tool; 0 for a completion that is not read.

    Raises:
        DataError: a reference answer that cannot be read.
    """
    gold_calls = read_gold(gold, forms).calls or ()
    calls: list[ToolCall] = [] if not lenient and parse(text, forms) is None else read(text, forms).calls
    return surplus_calls([call.name for call in calls], [call.name for call in gold_calls])
