"""Weightings: where the weights between normalising rewards and adding them up come from."""

from morl_estimators.weightings.ctwa import CTWA
from morl_estimators.weightings.dara import DARA
from morl_estimators.weightings.dvao import DVAO
from morl_estimators.weightings.lagrangian import Lagrangian
from morl_estimators.weightings.samrpo import SAMRPO
from morl_estimators.weightings.saw import SAW

__all__ = ["CTWA", "DARA", "DVAO", "SAMRPO", "SAW", "Lagrangian"]
