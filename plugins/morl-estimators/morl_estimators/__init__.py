"""Multi-reward advantage estimators and weightings that grew around GDPO, for morl."""

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
