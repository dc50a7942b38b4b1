"""What usually breaks a law, and what to do about it: `docs/reference/laws.md` is made from this and from the laws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from morl.authoring.trials import CONTRACT
from morl.testing import laws, losses, optimizers, prompts, rewards, weightings

_PURE = "Something is kept on the object between calls, or an argument is changed in place. Return new values."
_STATE = (
    "`state_dict` leaves something out, or `load_state_dict` does not put it back. Keep all that changes in"
    " plain values"
    " and tensors, and nothing that can be worked out from the options."
)
CAUSES: Mapping[str, Mapping[str, str]] = {
    "advantage estimator": {
        "form": "A sum over the wrong axis, or a computation in float64 that is not brought back into the dtype of the"
        " rewards. `morl.advantage.finite(values, dtype)` does both.",
        "finite": "A sum or a square of large rewards overflows, or something is divided by a standard deviation of 0."
        " Use `group_deviations`, whose units lie in [-1, 1], `divisor` and `finite`.",
        "pure": _PURE + " What adapts over steps is a weighting.",
        "order": "A sum of floats depends on the order of its terms, which shows in the last bits and, after rescaling,"
        " in the first. `Groups.sum` is the same for every order.",
        "shards": "Completions of a group are taken to stand side by side, or in blocks. Use `group_ids_B` alone.",
        "tokens": "`values_BT` has another shape than the sampled tokens, or follows the row's number, not its spans.",
        "labels": "Group ids are used as indices. `Groups.of(rewards.group_ids_B)` numbers them.",
        "missing": "`values_BK` is read beneath the mask. Use `rewards.valid_BK` everywhere, `torch.where`"
        " rather than a"
        " product with the mask: NaN times 0 is NaN.",
        "absent-reward": "Something is divided by the number of rewards, also of those that are missing everywhere.",
        "abstained": "A completion without any reward is counted in a mean or a standard deviation. Leave it out.",
        "contributions": "What is done to the sum (a batch normalisation, a clip) is not done to its parts.",
        "no-spread": "Three rewards of 0.1 do not have the mean 0.1, so that equal rewards leave a rest, which a later"
        " division blows up. `group_deviations` gives exactly 0, and `snapped` clears what is within rounding.",
        "zero-mean": "The baseline of a group is not its mean, or missing rewards are counted in it.",
        "unit-deviation": "An eps in the divisor, `ddof`, or completions without a reward that are counted.",
        "unit-batch-deviation": "The same, over the batch.",
        "shift": "A baseline that is no mean of the group.",
        "scale": "An eps in the divisor: set it to 0 for the claim.",
        "scale-each": "The rewards are added before each is divided by its own standard deviation.",
        "dead-reward": "A reward that does not vary within a group is counted: in a number of rewards, a batch"
        " statistic.",
        "rounding": "Sums whose terms cancel on paper leave a rest. Use `snapped`, with the bound on the"
        " rounding error.",
        "local": "A statistic of the whole batch enters. Then the estimator needs the batch: leave `scope` out.",
    },
    "weighting": {
        "form": "Weights for another number of rewards, NaN or infinity (a share of 0, a mean of nothing).",
        "pure": "The state is changed by a call. Adapt in `update` alone, which is called once per step.",
        "order": "Rows are taken for groups, or a sum depends on the order of its terms.",
        "labels": "Group ids are used as numbers. `morl.advantage.Groups` numbers the groups.",
        "missing": "A mean over values beneath the mask. Use `rewards.valid_BK`.",
        "update": "What is learned depends on something else than what was shown: a clock, a global random generator.",
        "state": _STATE,
    },
    "reward provider": {
        "declared": "`reward_names`, `required_columns` must be lists of texts, `reward_bounds` a pair or pairs"
        " by name.",
        "form": "Another number of scores than completions, a score that is no number, or an exception for one"
        " text that"
        " fails the whole batch. Return None where the reward does not apply, an exception in its place where"
        " it failed.",
        "bounds": "`reward_bounds` are those of ordinary answers. They must hold for every answer.",
        "pure": "A list of a column is sorted or extended in place. Copy it first.",
        "repeatable": "A clock, a random generator, a counter, or a model that samples. A judge that samples"
        " leaves this"
        " law out: `without: [repeatable, ..]`.",
        "order": "The number of a row enters the score.",
        "alone": "The others of a batch enter the score. A reward that compares the completions of a prompt leaves this"
        " law out; one that looks at the whole batch would depend on its size.",
        "threads": "A call keeps its work on the object (`self.scores`), where another call finds it. Use local names.",
        "state": _STATE,
    },
    "policy loss": {
        "declared": "`needs_reference` must be True or False, `aggregation` a known name or a function of the lengths.",
        "form": "A mean is taken: morl weighs and adds the tokens itself. Return one loss for each, and"
        " detached metrics.",
        "gradient": "A `detach` too many, a logarithm of 0, or a ratio that overflows far off the policy.",
        "pure": _PURE,
        "alone": "A mean over the micro-batch, or a token's place in it, enters. Use `batch.rows_T` for completions.",
        "state": _STATE,
        "policy-gradient": "On the policy itself the gradient is not that of `-A log p`: a factor, a sign, a penalty.",
    },
    "optimizer": {
        "complete": "Parameters are left out, taken twice, or frozen ones taken along.",
        "descends": "The sign of the step, or a learning rate far from what the check takes: give yours as `lr`.",
        "learning-rate": "The learning rate is read once, in the constructor. Read `group['lr']` in every step.",
        "frozen": "Weight decay, or momentum, moves a parameter whose gradient is None.",
        "independent": "State lives in a global, or in the builder. Keep it in `self.state`.",
        "resume": "A counter or a buffer outside of `self.state`, which `state_dict` does not know.",
    },
    "schedule": {
        "form": "A division by `steps` where there are none, or a factor below 0 at the last step.",
        "pure": "The factor is stepped along from call to call. Work it out from `step` and `steps`.",
    },
    "prompt source": {
        "form": "A generator, which cannot be asked for its rows by number, rows that are no `Prompt`, or no rows.",
        "repeatable": "Rows are shuffled anew with every call. Draw with a seed of the source's own.",
        "random": "The global generator is used. Make one: `random.Random(seed)`.",
    },
    "environment": {
        CONTRACT: "An episode follows from its prompt, its seed and the replies alone, closes at any time and"
        " twice, gives"
        " every reward that is declared (None: does not apply), and leaves no thread or process. See"
        " [environments](../how-to/environments.md).",
    },
    "rollout backend": {
        CONTRACT: "Samples follow from their seeds alone, their log-probabilities are those of the forward pass, an end"
        " stays in, the weights are those of the last sync. See [Write a rollout"
        " backend](../how-to/rollout-backend.md).",
    },
}
_STATEMENTS: Mapping[str, Mapping[str, str]] = {
    "advantage estimator": {name: law.statement for name, law in (laws.ALWAYS | laws.CLAIMS).items()},
    "weighting": weightings.LAWS,
    "reward provider": rewards.LAWS,
    "policy loss": losses.LAWS | losses.CLAIMS,
    "optimizer": optimizers.LAWS,
    "schedule": optimizers.SCHEDULE_LAWS,
    "prompt source": prompts.LAWS,
    "environment": {CONTRACT: "It keeps what `check_environment` looks at."},
    "rollout backend": {CONTRACT: "It keeps what `check_rollout_backend` looks at."},
}
_CLAIMED = {*laws.CLAIMS, *losses.CLAIMS}


def law_sections() -> Iterator[str]:
    """A section for every law of every kind, under the heading that `Trial.page` links to.

    Raises:
        KeyError: a law without a cause, or a cause without a law.
    """
    for kind, statements in _STATEMENTS.items():
        if unknown := {*CAUSES[kind]} - {*statements}:
            raise KeyError(f"{kind} has no law {unknown}")
        yield from ("", f"## {kind.capitalize()}")
        for law, statement in statements.items():
            claimed = " *Claimed by some.*" if law in _CLAIMED else ""
            yield from ("", f"### {kind.capitalize()}: {law}", "", f"{statement}{claimed}", "", CAUSES[kind][law])
