"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

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
