"""Policy losses: what each completion token costs, and how tokens become one number."""

from morl.loss.aggregation import token_weights
from morl.loss.clipped import ClippedLoss
from morl.loss.importance import ImportanceWeights, importance_weights
from morl.loss.kl import KLEstimator, kl_divergence

__all__ = ["ClippedLoss", "ImportanceWeights", "KLEstimator", "importance_weights", "kl_divergence", "token_weights"]
