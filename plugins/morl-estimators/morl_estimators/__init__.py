"""Multi-reward advantage estimators and weightings that grew around GDPO, for morl.

Names are imported when they are asked for: what only looks at the plugin, as `morl plugins` does, loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from morl_estimators.corr_grpo import CorrGRPO
    from morl_estimators.gd2po import GD2PO
    from morl_estimators.maxrl import MaxRL
    from morl_estimators.mo_grpo import MOGRPO, papo
    from morl_estimators.pareto import ParetoRank
    from morl_estimators.reinforce import ReinforcePlusPlus
    from morl_estimators.rewards import TokenCost
    from morl_estimators.rloo import RLOO
    from morl_estimators.turns import TurnLevel
    from morl_estimators.weightings import CTWA, DARA, DVAO, SAMRPO, SAW, Lagrangian

_MODULES = {
    "CorrGRPO": "corr_grpo",
    "GD2PO": "gd2po",
    "MaxRL": "maxrl",
    "MOGRPO": "mo_grpo",
    "papo": "mo_grpo",
    "ParetoRank": "pareto",
    "ReinforcePlusPlus": "reinforce",
    "TokenCost": "rewards",
    "RLOO": "rloo",
    "TurnLevel": "turns",
    **dict.fromkeys(("CTWA", "DARA", "DVAO", "SAMRPO", "SAW", "Lagrangian"), "weightings"),
}

__all__ = [
    "CTWA",
    "DARA",
    "DVAO",
    "GD2PO",
    "MOGRPO",
    "RLOO",
    "SAMRPO",
    "SAW",
    "CorrGRPO",
    "Lagrangian",
    "MaxRL",
    "ParetoRank",
    "ReinforcePlusPlus",
    "TokenCost",
    "TurnLevel",
    "papo",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
