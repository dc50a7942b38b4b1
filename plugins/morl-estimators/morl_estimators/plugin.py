"""What morl finds through the entry point; parts are named by import path, so that nothing else is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_advantage_estimators() -> Mapping[str, Factory]:
    estimators = {
        "mo-grpo": "morl_estimators.mo_grpo:MOGRPO",
        "papo": "morl_estimators.mo_grpo:papo",
        "rloo": "morl_estimators.rloo:RLOO",
        "reinforce++": "morl_estimators.reinforce:ReinforcePlusPlus",
        "corr-grpo": "morl_estimators.corr_grpo:CorrGRPO",
        "gd2po": "morl_estimators.gd2po:GD2PO",
        "maxrl": "morl_estimators.maxrl:MaxRL",
        "pareto-rank": "morl_estimators.pareto:ParetoRank",
        "turn-level": "morl_estimators.turns:TurnLevel",
    }
    if _installed("morl-example"):
        # Which has had the name for longer: configs that use it go on as they were, with the same numbers.
        del estimators["rloo"]
    return estimators


@hookimpl
def morl_register_weightings() -> Mapping[str, Factory]:
    return {
        "dvao": "morl_estimators.weightings:DVAO",
        "sa-mrpo": "morl_estimators.weightings:SAMRPO",
        "dara": "morl_estimators.weightings:DARA",
        "saw": "morl_estimators.weightings:SAW",
        "lagrangian": "morl_estimators.weightings:Lagrangian",
        "ctwa": "morl_estimators.weightings:CTWA",
    }


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {"token-cost": "morl_estimators.rewards:TokenCost"}


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """For parts with options that must be given, and those that break a law by design."""
    constraints = {"a": {"at_least": 0.5}, "b": {"tokens_at_most": 4}}
    return {
        "advantage estimator": {
            "papo": {"options": {"process": "b", "outcome": "a", "at_least": 0.0}, "names": ["a", "b"]},
            "reinforce++": {"without": ["no-spread"]},  # it has no baseline per group
            "maxrl": {"nonnegative": True, "claims": ["zero-mean", "scale", "local"]},
        },
        "weighting": {
            "lagrangian": {"options": {"constraints": constraints, "lr": 0.3}, "names": ["a", "b"]},
            "ctwa": {"options": {"targets": {"a": 0.5}}, "names": ["a", "b"]},
        },
        "reward provider": {"token-cost": {"options": {"budget": 2}}},
    }


def _installed(name: str) -> bool:
    try:
        return distribution(name) is not None
    except PackageNotFoundError:
        return False
