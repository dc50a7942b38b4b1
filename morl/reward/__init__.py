"""Scores completions: time limits, failures and missing values, and the reward providers that need nothing but text.

>>> from morl.types import Completion, Prompt
>>> form = RewardEntry(TagsReward(["answer"]), weight=0.5)
>>> scorer = RewardScorer({"format": form, "length": RewardEntry(LengthReward(limit=2))})
>>> scorer.names, scorer.weights
(('format', 'length'), {'format': 0.5, 'length': 1.0})
>>> scorer.score([Completion(Prompt("2+2?"), "<answer>4</answer>", (1, 2, 3))]).values_BK.tolist()
[[1.0, 0.0]]
"""

from morl.reward.entry import RewardEntry, When
from morl.reward.function import FunctionReward
from morl.reward.scorer import RewardScorer
from morl.reward.text import ExactMatchReward, LengthReward, RegexReward, TagsReward

__all__ = [
    "ExactMatchReward",
    "FunctionReward",
    "LengthReward",
    "RegexReward",
    "RewardEntry",
    "RewardScorer",
    "TagsReward",
    "When",
]
