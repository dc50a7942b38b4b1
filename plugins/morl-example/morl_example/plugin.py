"""What morl finds through the entry point.

Parts are named by import path, so that `morl plugins` and runs that use none of them import nothing but this module.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from morl.hookspecs import Factory, hookimpl

if TYPE_CHECKING:
    from morl.types import Advantages, RewardMatrix

_log = logging.getLogger(__name__)


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {
        "keywords": "morl_example.rewards:Keywords",
        "distinct-ngrams": "morl_example.rewards:DistinctNgrams",
        "unlike-others": "morl_example.group:Unlike",
    }


@hookimpl
def morl_register_advantage_estimators() -> Mapping[str, Factory]:
    return {"rloo": "morl_example.rloo:RLOO"}


@hookimpl
def morl_register_prompt_sources() -> Mapping[str, Factory]:
    return {"word-list": "morl_example.prompts:WordList"}


@hookimpl
def morl_register_environments() -> Mapping[str, Factory]:
    return {"guess": "morl_example.guess:Guess"}


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """What the parts are tried with by `pytest --morl-plugin morl-example`, and what they claim or leave out."""
    return {
        "reward provider": {
            "keywords": {"columns": {"keywords": ["river", "Lamp"]}, "texts": ["The river.", "a lamp", "river LAMP"]},
            "unlike-others": {"without": ["alone"]},
        },
        "advantage estimator": {"rloo": {"claims": ["zero-mean", "shift", "dead-reward", "local"]}},
        "environment": {"guess": {"replies": ["10", "no idea"]}},
    }


@hookimpl
def morl_advantages_ready(step: int, rewards: RewardMatrix, advantages: Advantages) -> None:
    """Says why, when a step has nothing to learn from; called on every rank."""
    if not advantages.values_B.any():
        _log.warning("step %d: every advantage is 0: no reward differs within a group, or the rewards cancel", step + 1)
