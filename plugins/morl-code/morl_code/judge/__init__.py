"""Runs generated programs against tests, apart from everything else, and says case by case what became of them.

`Judge` is the way in; `ISOLATION.md` says what it protects against, and by what means.
"""

from morl_code.judge.outputs import TOLERANCE, same_output
from morl_code.judge.pool import Judge
from morl_code.judge.types import (
    FunctionTest,
    Isolation,
    Program,
    StdioTest,
    Test,
    Verdict,
)
from morl_code.sandbox.limits import Limits

__all__ = [
    "TOLERANCE",
    "FunctionTest",
    "Isolation",
    "Judge",
    "Limits",
    "Program",
    "StdioTest",
    "Test",
    "Verdict",
    "same_output",
]
