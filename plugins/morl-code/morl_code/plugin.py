"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {"code": "morl_code.rewards:CodeReward"}


@hookimpl
def morl_register_prompt_sources() -> Mapping[str, Factory]:
    return {
        "humaneval": "morl_code.humaneval:HumanEval",
        "mbpp": "morl_code.mbpp:MBPP",
        "code-contests": "morl_code.contests:CodeContests",
    }


@hookimpl
def morl_register_environments() -> Mapping[str, Factory]:
    return {"python-sandbox": "morl_code.python_tool:PythonSandbox"}


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """A task with its tests and programs for it: right, wrong, one that raises and none at all."""
    tests = [{"code": "assert double(1) == 2"}, {"code": "assert double(2) == 4"}]
    program = "```python\ndef double(x):\n    return %s\n```"
    texts = [program % body for body in ("2 * x", "x + 1", "1 / 0")]
    reads = {"untried": "it reads a data set, from the hub by default"}
    return {
        "prompt source": {"humaneval": reads, "mbpp": reads, "code-contests": reads},
        "reward provider": {"code": {"columns": {"tests": tests}, "texts": [*texts, "I cannot."]}},
        "environment": {"python-sandbox": {"replies": ["It is 4."]}},
    }
