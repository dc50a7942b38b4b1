"""Policy losses: what each completion token costs, and how tokens become one number."""

from morl.loss.aggregation import token_weights
from morl.loss.clipped import ClippedLoss
from morl.loss.importance import ImportanceWeights, importance_weights
from morl.loss.kl import KLEstimator, kl_divergence, kl_penalty
from morl.loss.sequence import GSPOLoss, GSPOTokenLoss, LUSPOLoss
from morl.loss.surrogate import SurrogateLoss
from morl.loss.weighted import CISPOLoss, SAPOLoss, VESPOLoss

__all__ = [
    "CISPOLoss",
    "ClippedLoss",
    "GSPOLoss",
    "GSPOTokenLoss",
    "ImportanceWeights",
    "KLEstimator",
    "LUSPOLoss",
    "SAPOLoss",
    "SurrogateLoss",
    "VESPOLoss",
    "importance_weights",
    "kl_divergence",
    "kl_penalty",
    "token_weights",
]
