"""Rewards of the tool-calling task: format and correctness (ToolRL, arXiv 2504.13958; GDPO, arXiv 2601.05242).

The grading functions are plain text in, number out, and need no morl run:

>>> from morl_toolcall import correctness, format_score
>>> gold = '<tool_call>\\n{"name": "buy", "parameters": {"count": 7, "item": "pears"}}\\n</tool_call>'
>>> answer = '<tool_call>\\n{"name": "buy", "parameters": {"count": 8, "item": "pears"}}\\n</tool_call>'
>>> format_score(answer, gold, think=False), correctness(answer, gold)
(1.0, 1.5)
>>> correctness(answer + answer, gold), correctness(answer + answer, gold, variant="paper")
(-0.75, 1.5)
>>> surplus(answer + answer, gold)
1
"""

from morl_toolcall.grading import correctness, format_score, surplus

__all__ = ["correctness", "format_score", "surplus"]
