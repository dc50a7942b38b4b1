"""The names of all metrics, and what they mean; the reference (`docs/reference/metrics.md`) is generated from here.

Names are paths, so that TensorBoard groups them.  A place in angle brackets stands for a name of the run's own.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from attrs import frozen

Metrics: TypeAlias = dict[str, float]
"""Name -> value."""

_PLACE = re.compile(r"<\w+>")


@frozen
class Metric:
    """One name, or one for every reward.

    Attributes:
        name: with a place such as `<reward>` where it has one.
        meaning: as the reference says it.
    """

    name: str
    meaning: str

    def of(self, *names: str) -> str:
        """The name with its places filled in, in order.

        >>> Metric("reward/<reward>/mean", "").of("brief")
        'reward/brief/mean'
        """
        rest = iter(names)
        filled = _PLACE.sub(lambda place: next(rest), self.name)
        assert next(rest, None) is None, f"{self.name} has fewer places than {names}"
        return filled

    def reward_in(self, name: str) -> str | None:
        """What stands in the only place; None for another metric.

        >>> Metric("reward/<reward>/mean", "").reward_in("reward/brief/mean")
        'brief'
        """
        match = re.fullmatch("(.+)".join(map(re.escape, _PLACE.split(self.name))), name)
        return match[1] if match else None


REWARD_MEAN = Metric(
    "reward/<reward>/mean",
    "mean score, over the completions that have one; rewards are logged as they were scored, before any condition",
)
REWARD_STD = Metric("reward/<reward>/std", "sample standard deviation of the scores")
REWARD_SATURATION = Metric(
    "reward/<reward>/saturation",
    "mean score as a share of the range between the bounds: 1 is the ceiling; only of rewards that have bounds",
)
REWARD_DEAD_GROUPS = Metric(
    "reward/<reward>/dead_groups",
    "share of groups in which the reward has no two different values, so that it teaches nothing",
)
_ENDS = (
    " The lowest and the highest are the bounds; without bounds the ends of the batch's scores, or 0 and 1 where those"
    " are all the same"
)
REWARD_MIN = Metric("reward/<reward>/min", "lowest score")
REWARD_MAX = Metric("reward/<reward>/max", "highest score")
REWARD_MIXED = Metric(
    "reward/<reward>/groups_mixed", "share of groups in which scores differ: 1 - `dead_groups`; only these teach it"
)
REWARD_ALL_LOW = Metric(
    "reward/<reward>/groups_all_low", "share of groups in which every score is the lowest: nobody was right." + _ENDS
)
REWARD_ALL_HIGH = Metric(
    "reward/<reward>/groups_all_high",
    "share of groups in which every score is the highest: everybody was right. With `groups_all_low` and `groups_mixed`"
    " it sums to 1, but for groups that are alike elsewhere or have no score",
)
REWARD_REACHED = Metric(
    "reward/<reward>/reached",
    "share of groups in which some completion has the highest score: success ever seen in G tries, (1/P) sum_p"
    " max_g [score = highest], which is pass@G of a reward in {0, 1}",
)
REWARD_HISTOGRAM = Metric(
    "reward/<reward>/histogram/<fifth>",
    "share of the scores in each fifth, 1 to 5, of the way from the lowest to the highest; the last includes the upper"
    " end." + _ENDS,
)
CONTRIBUTION_COVARIANCE = Metric(
    "contribution_covariance/<a>~<b>",
    "cov(contribution of a, contribution of b) / var(advantage): negative where one crowds the other out. A reward's"
    " `advantage_share` is its own variance, as a share of that of the advantage, plus these of all its pairs",
)
REWARD_ADVANTAGE_SHARE = Metric(
    "reward/<reward>/advantage_share",
    "cov(contribution of the reward, advantage) / var(advantage): what part of the learning signal is this reward's."
    " The shares sum to 1; a negative one works against the others",
)
REWARD_FAILED = Metric(
    "reward/<reward>/failed", "share of completions for which the provider raised, timed out or never answered"
)
REWARD_MISSING = Metric(
    "reward/<reward>/missing",
    "share of completions without a score: not applicable, failed under `abstain`, or dropped. A failure under `zero`"
    " is failed but not missing",
)
REWARD_COUNTED = Metric(
    "reward/<reward>/counted",
    "of a conditioned reward: share of completions for which it counts, because its condition is reached",
)
CONDITIONED_MEAN = Metric("reward/<reward>/conditioned_mean", "of a conditioned reward: mean as the estimator sees it")
CONDITIONED_STD = Metric(
    "reward/<reward>/conditioned_std", "of a conditioned reward: sample standard deviation as the estimator sees it"
)
CONDITIONED_DEAD_GROUPS = Metric(
    "reward/<reward>/conditioned_dead_groups", "of a conditioned reward: share of dead groups as the estimator sees it"
)
DISTINCT_COMBINATIONS = Metric("reward/distinct_combinations", "number of different reward vectors in the batch")
REWARD_CORRELATION = Metric(
    "reward_correlation/<a>~<b>",
    "Pearson correlation of two rewards over the completions that have both; empty or NaN where one is constant",
)

SOURCE_SHARE = Metric("source_share/<source>", "share of the completions whose prompt is of this source of a mixture")
SOURCE_REWARD = Metric("source/<source>/<reward>", "mean score over the completions of this source")

ADVANTAGE_DISTINCT = Metric(
    "advantage/distinct",
    "number of different advantages, agreeing to nine decimals counting as equal; compare with"
    " `reward/distinct_combinations`",
)
ADVANTAGE_STD = Metric("advantage/std", "root mean square of the advantages")
ADVANTAGE_MAX_ABS = Metric(
    "advantage/max_abs", "the largest in size: a batch with few informative groups has large ones under `gdpo`"
)
GROUPS_WITH_SIGNAL = Metric(
    "groups/with_signal", "share of groups in which some weighted reward varies, as the estimator sees the rewards"
)
GROUPS_CANCELLED = Metric("groups/cancelled", "share of groups in which rewards vary and cancel: every advantage is 0")
GROUPS_KEPT = Metric("groups/kept", "share of the sampled groups that dynamic sampling kept; 1 when it is off")

LENGTH_MEAN = Metric("completions/length_mean", "mean tokens of a completion, the end-of-sequence token included")
LENGTH_MAX = Metric("completions/length_max", "tokens of the longest")
TRUNCATED = Metric("completions/truncated", "share that ended at `sampling.max_tokens`")
DROPPED = Metric("completions/dropped", "share taken out of the update by a failure under `on_failure: drop`")

TURNS = Metric("conversation/turns", "mean replies of the policy in a conversation; these only with an `environment`")
TOOL_CALLS = Metric("conversation/tool_calls", "mean calls of tools in a conversation, malformed ones included")
FAILED_CALLS = Metric(
    "conversation/failed_calls",
    "mean calls that could not be made, or that the environment reports as failed (`failed_calls` of its `info`)",
)
ENVIRONMENT_TOKENS = Metric(
    "conversation/environment_tokens",
    "mean tokens between the turns of a conversation, which were not sampled; `completions/length_mean` has the others",
)
ENVIRONMENT_SECONDS = Metric(
    "conversation/environment_seconds",
    "mean seconds that the environment was busy with a conversation, from its opening to its closing",
)
STATUS = Metric("conversation/status/<status>", "share of the conversations that ended in this way")

LOSS = Metric("loss", "mean over the optimizer steps of the batch")
ENTROPY = Metric(
    "policy/entropy",
    "mean entropy of the next-token distribution at the sampling temperature, over completion tokens",
)
OF_THE_LOSS = Metric(
    "policy/<name>",
    "whatever metrics the policy loss returns: `off_policy`, the share of tokens that `off_policy_threshold` left out,"
    " `gate` of `sapo` and `weight` of `vespo`, or a plugin's; `router_loss`, the balance of a mixture of experts, with"
    " `policy.router_loss_coef`",
)
RATIO = Metric(OF_THE_LOSS.of("ratio"), "mean importance ratio")
KL_OLD = Metric(
    OF_THE_LOSS.of("kl_old"),
    "mean estimate of the divergence of the policy at the start of the update from the policy being updated",
)
CLIP_FRACTION = Metric(OF_THE_LOSS.of("clip_fraction"), "share of tokens whose gradient the clip took away")
KL_REFERENCE = Metric(
    OF_THE_LOSS.of("kl_reference"),
    "mean estimate of the divergence from the reference policy; only with `loss.kl_coef` above 0",
)
ENTROPY_COEF = Metric(
    "policy/entropy_coef", "coefficient of the entropy bonus in the step; only with the section `entropy`"
)
LOGPROB_DIFFERENCE = Metric(
    "rollout/logprob_difference",
    "mean absolute difference between the log-probabilities captured while sampling and those of a forward pass of the"
    " same weights: over all tokens on policy; with `rollout.lag` over the start of some completions of the longest"
    " prompt, on every rank. Rounding only, unless the backend has other numerics (then set"
    " `training.recompute_logprobs`) or missed a sync",
)
LOGPROB_DIFFERENCE_MAX = Metric("rollout/logprob_difference_max", "the same, of the token that differs most")
LAG = Metric("rollout/lag", "steps between the weights that sampled and those that learn; of the oldest completion")
IMPORTANCE_MEAN = Metric(
    "importance/mean",
    "mean factor on the losses; with `importance.correction` in force, as under `rollout.lag`",
)
IMPORTANCE_BOUNDED = Metric("importance/bounded", "share of tokens whose ratio was out of bounds")
GRAD_NORM = Metric("optimizer/grad_norm", "mean norm of the gradients before clipping")
LEARNING_RATE = Metric("optimizer/lr", "learning rate of the step")

TIME = Metric("time/<part>", "seconds in a part of the step")
TIME_SYNC = Metric(
    TIME.of("sync"),
    "seconds of bringing the backend to the present weights; with `rollout.lag` of copying them for it",
)
TIME_ROLLOUT = Metric(TIME.of("rollout"), "seconds of sampling")
TIME_REWARD = Metric(TIME.of("reward"), "seconds of scoring")
TIME_OF_REWARD = Metric(
    TIME.of("reward/<reward>"),
    "seconds that the call of one entry of `rewards` took; entries run side by side",
)
TIME_ADVANTAGE = Metric(TIME.of("advantage"), "seconds of the estimator")
TIME_UPDATE = Metric(TIME.of("update"), "seconds of all optimizer steps")
TIME_STEP = Metric(TIME.of("step"), "seconds of the whole step")
TOKENS_PER_SECOND = Metric("time/tokens_per_second", "completion tokens of all ranks per second of the whole step")

HELD_OUT = Metric("evaluation/<reward>", "mean score on the held-out prompts")
SCORED = Metric("<reward>/scored", "the same, in `evaluation.json`")
HELD_OUT_SCORED = Metric(
    HELD_OUT.of(SCORED.name),
    "share of the completions that the reward applies to (`when`) and that have a score: what the mean is a mean of",
)
HELD_OUT_LENGTH = Metric(HELD_OUT.of(LENGTH_MEAN.name), "mean tokens of a completion")
HELD_OUT_TRUNCATED = Metric(HELD_OUT.of(TRUNCATED.name), "share that ended at the token limit")

HELD_OUT_SOURCE_SHARE = Metric(HELD_OUT.of(SOURCE_SHARE.name), "share of the held-out completions of this source")
HELD_OUT_SOURCE = Metric(HELD_OUT.of(SOURCE_REWARD.name), "mean score on the held-out prompts of this source")

STEP = Metric("step", "rollout batch, from 1: the number of finished steps")

FAMILIES: dict[str, tuple[Metric, ...]] = {
    "Rewards": (
        *(REWARD_MEAN, REWARD_STD, REWARD_MIN, REWARD_MAX, REWARD_HISTOGRAM, REWARD_SATURATION),
        *(REWARD_DEAD_GROUPS, REWARD_MIXED, REWARD_ALL_LOW, REWARD_ALL_HIGH, REWARD_REACHED, REWARD_ADVANTAGE_SHARE),
        *(REWARD_FAILED, REWARD_MISSING, REWARD_COUNTED, CONDITIONED_MEAN, CONDITIONED_STD, CONDITIONED_DEAD_GROUPS),
        *(DISTINCT_COMBINATIONS, REWARD_CORRELATION, CONTRIBUTION_COVARIANCE),
    ),
    "Sources": (SOURCE_SHARE, SOURCE_REWARD),
    "Advantages and groups": (
        ADVANTAGE_DISTINCT,
        ADVANTAGE_STD,
        ADVANTAGE_MAX_ABS,
        GROUPS_WITH_SIGNAL,
        GROUPS_CANCELLED,
        GROUPS_KEPT,
    ),
    "Completions": (LENGTH_MEAN, LENGTH_MAX, TRUNCATED, DROPPED),
    "Conversations": (TURNS, TOOL_CALLS, FAILED_CALLS, ENVIRONMENT_TOKENS, ENVIRONMENT_SECONDS, STATUS),
    "Update": (
        *(
            LOSS,
            ENTROPY,
            ENTROPY_COEF,
            RATIO,
            KL_OLD,
            CLIP_FRACTION,
            KL_REFERENCE,
            LOGPROB_DIFFERENCE,
            LOGPROB_DIFFERENCE_MAX,
            LAG,
        ),
        *(IMPORTANCE_MEAN, IMPORTANCE_BOUNDED, GRAD_NORM, LEARNING_RATE),
    ),
    "Time": (
        *(TIME_SYNC, TIME_ROLLOUT, TIME_REWARD, TIME_OF_REWARD, TIME_ADVANTAGE, TIME_UPDATE, TIME_STEP),
        TOKENS_PER_SECOND,
    ),
    "Evaluation": (
        HELD_OUT,
        HELD_OUT_SCORED,
        HELD_OUT_LENGTH,
        HELD_OUT_TRUNCATED,
        HELD_OUT_SOURCE_SHARE,
        HELD_OUT_SOURCE,
    ),
    "Position": (STEP,),
}
"""Every metric that a run may log, by the heading of its table in the reference."""
