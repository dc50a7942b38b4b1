"""Faults that the tests have to see: one replacement of text in the package each, and the tests nearest to it.

A text is looked for in the whole package and must stand there exactly once, so that a mutation neither knows in which
module its line lives nor can go astray in silence when the line changes.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """`old` becomes `new`; one of `tests` must fail."""

    name: str
    old: str
    new: str
    tests: tuple[str, ...]


ORACLE = "tests/training/oracle"


def update(*setups: str) -> tuple[str, ...]:
    """Runs beside the plain rendering of the update."""
    return tuple(f"{ORACLE}/test_update.py::test_a_run_ends_where_the_plain_update_ends[{setup}]" for setup in setups)


def two(setup: str) -> tuple[str, ...]:
    """Runs on two processes beside the plain rendering of the update."""
    return (f"{ORACLE}/test_two_processes.py::test_two_processes_end_where_the_plain_update_ends[{setup}]",)


SAMPLES = (f"{ORACLE}/test_sampling.py::test_training_samples_come_from_the_streams_of_their_prompts[all]",)
BOTH_CUTS = (f"{ORACLE}/test_sampling.py::test_training_samples_come_from_the_streams_of_their_prompts[both]",)
EVALUATION = (f"{ORACLE}/test_sampling.py::test_evaluation_samples_have_seeds_of_their_own[1.3]",)
EVALUATED = (f"{ORACLE}/test_evaluation.py::test_two_processes_find_what_is_counted_before_a_training",)
EVALUATED_ALONE = (f"{ORACLE}/test_evaluation.py::test_two_processes_find_what_is_counted_of_a_model",)
COLLECT = "tests/training/test_collect.py"
CONVERSATIONS = "tests/training/test_conversations.py"
TOOLS = "tests/training/test_tools_in_runs.py"
ENVIRONMENTS = "tests/training/test_environments_in_runs.py"
TRL = "tests/integrations/test_trl.py"
BRIDGE = "tests/conversation/test_bridge.py"
QUANTISED = "tests/policy/test_policy_quantised.py"
PROTECTION = "tests/training/test_protection.py"
MEASURES = "tests/diagnosis/test_diagnosis_measures.py"
OVERRIDES = "tests/training/test_overrides.py"
HEALTH = "tests/reward/test_health.py"
STREAMS = "tests/training/test_streams.py"
ROUNDED = "tests/optim/test_rounding.py"
FILES = "tests/training/test_checkpoint_files.py"
SHARDS = f"{FILES}::test_a_sharded_checkpoint_that_lacks_a_part_is_named_and_set_aside"

MUTATIONS = (
    # The loss of a token
    Mutation(
        "the clip's bounds are swapped",
        "ratio.clamp(1 - self.clip_low, 1 + self.upper)",
        "ratio.clamp(1 - self.upper, 1 + self.clip_low)",
        update("gdpo"),
    ),
    Mutation(
        "the greater surrogate in place of the smaller",
        "-torch.minimum(free * advantages, bounded * advantages)",
        "-torch.maximum(free * advantages, bounded * advantages)",
        update("gdpo"),
    ),
    Mutation(
        "the metric clip_fraction counts ratios out of range",
        "stopped = bounded * advantages < free * advantages",
        "stopped = bounded != ratio",
        update("gdpo"),
    ),
    Mutation(
        "the metric kl_old is taken from the wrong side",
        'kl_divergence(batch.old_logprobs_T, batch.policy_logprobs_T.detach(), "k3")',
        'kl_divergence(batch.policy_logprobs_T.detach(), batch.old_logprobs_T, "k3")',
        update("gdpo"),
    ),
    Mutation(
        "the strength of the KL term is ignored",
        "losses = losses + self.kl_coef * kl",
        "losses = losses + kl",
        update("grpo-k3"),
    ),
    Mutation(
        "the metric kl_reference bears the strength of the term",
        'metrics["kl_reference"] = kl.detach()',
        'metrics["kl_reference"] = self.kl_coef * kl.detach()',
        update("grpo-k3"),
    ),
    Mutation(
        "k3 is taken from the wrong side",
        "(-difference).expm1() + difference",
        "difference.expm1() - difference",
        update("grpo-k3"),
    ),
    Mutation("k2 is not halved", "difference.square() / 2", "difference.square()", update("k2")),
    Mutation(
        "delta bounds nothing",
        "ratio if self.delta is None else ratio.clamp(max=self.delta)",
        "ratio",
        update("two-sided"),
    ),
    Mutation(
        "k1 keeps its own gradient",
        "return pull + (value - pull).detach()",
        "return value",
        update("two-sided"),
    ),
    Mutation(
        "the ratio of the unbiased KL is detached",
        "return kl * (batch.policy_logprobs_T - batch.old_logprobs_T).exp()",
        "return kl * (batch.policy_logprobs_T - batch.old_logprobs_T).exp().detach()",
        update("unbiased"),
    ),
    Mutation(
        "positive completions leave off policy, too",
        "left_T = (apart_T > self.off_policy_threshold) & (batch.advantages_T < 0)",
        "left_T = apart_T > self.off_policy_threshold",
        update("unbiased"),
    ),
    Mutation(
        "a sequence's ratio is the product over its tokens",
        "ratio = spread(batch, means(batch, batch.policy_logprobs_T - batch.old_logprobs_T)).exp()",
        "ratio = spread(batch, sums(batch, batch.policy_logprobs_T - batch.old_logprobs_T)).exp()",
        update("gspo"),
    ),
    Mutation(
        "the gradient of a token goes through its whole sequence",
        "ratio * (now - now.detach()).exp(), batch.advantages_T",
        "ratio, batch.advantages_T",
        update("gspo-token"),
    ),
    Mutation(
        "the weight of cispo has a gradient",
        "ratio = (batch.policy_logprobs_T.detach() - batch.old_logprobs_T).exp()\n        weight = ratio.clamp(",
        "ratio = (batch.policy_logprobs_T - batch.old_logprobs_T).exp()\n        weight = ratio.clamp(",
        update("cispo"),
    ),
    Mutation(
        "the temperatures of sapo are swapped",
        "torch.where(batch.advantages_T > 0, self.temperature_positive, self.temperature_negative)",
        "torch.where(batch.advantages_T > 0, self.temperature_negative, self.temperature_positive)",
        update("sapo"),
    ),
    Mutation(
        "vespo takes the ratio to the old policy",
        "log_ratio = batch.policy_logprobs_T.detach() - batch.rollout_logprobs_T",
        "log_ratio = batch.policy_logprobs_T.detach() - batch.old_logprobs_T",
        ("tests/loss/test_ratios.py::test_vespo_takes_the_ratio_to_the_rollout_policy",),
    ),
    Mutation(
        "importance weights a loss that corrects by itself",
        'if correction is None or getattr(parts.loss, "corrects_importance", False):',
        "if correction is None:",
        update("lag-vespo"),
    ),
    Mutation(
        "the tokens of lowest entropy are kept",
        "return mask_BT & (entropy_BT >= lowest)",
        "return mask_BT & (entropy_BT <= lowest)",
        update("top-entropy"),
    ),
    Mutation(
        "the entropy is pushed down",
        "weighted = weighted - batch.entropy_weight * bonus",
        "weighted = weighted + batch.entropy_weight * bonus",
        update("entropy"),
    ),
    Mutation(
        "the bonus is given above the target, too",
        "return self.coef if target is None or self.last <= target else 0.0",
        "return self.coef",
        update("entropy-target"),
    ),
    Mutation(
        "the coefficient moves the wrong way",
        "delta if entropy <= options.target else -delta",
        "-delta if entropy <= options.target else delta",
        ("tests/training/test_entropy.py",),
    ),
    Mutation(
        "truncated completions stay in the statistics",
        "scores.dropped_B | scores.truncated_B if self.without_truncated else scores.dropped_B",
        "scores.dropped_B",
        update("truncated-statistics"),
    ),
    Mutation(
        "truncated completions stay in the loss",
        "used &= ~scores.truncated_B",
        "used &= True",
        update("truncated"),
    ),
    Mutation(
        "reference and policy change places in the mixture",
        "torch.lerp(mine, theirs.to(mine.dtype), mixup)",
        "torch.lerp(theirs.to(mine.dtype), mine, mixup)",
        update("moving-average"),
    ),
    Mutation(
        "the reference moves a step late",
        "if not self._options.sync_every or step % self._options.sync_every:",
        "if not self._options.sync_every or (step + 1) % self._options.sync_every:",
        update("synced"),
    ),
    Mutation(
        "checkpoints lack the reference",
        "None if self.reference is None else self.reference.state()",
        "None",
        ("tests/training/test_resume.py::test_a_run_resumed_after_any_step_ends_bit_identical[moving]",),
    ),
    Mutation(
        "checkpoints lack the coefficient of the entropy",
        'checkpoint["morl_entropy"] = self.entropy.state()',
        'checkpoint["morl_entropy"] = None',
        ("tests/training/test_resume.py::test_a_run_resumed_after_any_step_ends_bit_identical[moving]",),
    ),
    # What a run leaves behind
    Mutation(
        "a rank of a sharded policy ends alone",
        "any(pl_module.exchange.gather(self._noted.is_set()))",
        "self._noted.is_set()",
        (
            "tests/training/test_stopping.py"
            "::test_all_ranks_of_a_sharded_policy_end_after_the_step_in_which_one_was_asked_to",
        ),
    ),
    Mutation(
        "a checkpoint is taken at its name's word",
        "fault = fault_of(checkpoint) or fault_inside(checkpoint)",
        "fault = fault_of(checkpoint)",
        ("tests/training/test_checkpoint_files.py::test_a_sound_file_of_another_state_is_set_aside",),
    ),
    Mutation(
        "what was null counts as unknown to the older version",
        "known = _is_in(key, old) or",
        "known = old.get(key) is not None or",
        ("tests/training/test_resume_rules.py::test_what_was_null_changes_when_it_is_set",),
    ),
    Mutation(
        "an export stands for every checkpoint of its step",
        "return note in [Exported(",
        "return note is not None or note in [Exported(",
        ("tests/export/test_export.py::test_an_export_of_a_checkpoint_that_was_written_anew_is_made_anew",),
    ),
    Mutation(
        "samples of steps that are done no more stay",
        "for path in folder.later_samples(done):",
        "for path in folder.later_samples(1 << 30):",
        (
            "tests/training/test_resume_rules.py::test_what_was_written_for_steps_to_come_goes_where_they_will_be_others",
        ),
    ),
    # Aggregation
    Mutation(
        "sequence-sum divides by the tokens",
        "(lengths > 0) / (lengths > 0).sum().clamp(min=1).to(torch.float64)",
        "(lengths > 0) / lengths.sum().clamp(min=1)",
        update("luspo"),
    ),
    Mutation(
        "token-mean divides by the number of completions",
        "torch.ones_like(lengths) / lengths.sum().clamp(min=1)",
        "torch.ones_like(lengths) / len(lengths)",
        update("gdpo"),
    ),
    Mutation(
        "sequence-mean divides by the mean length",
        "(lengths > 0) / (lengths.clamp(min=1) *",
        "(lengths > 0) / (lengths.mean().clamp(min=1) *",
        update("grpo-k3"),
    ),
    Mutation(
        "dr-grpo divides by the longest completion",
        "(max(len(lengths), 1) * max_tokens)",
        "(max(len(lengths), 1) * (lengths.max() - 1))",
        update("k2"),
    ),
    # Importance correction
    Mutation(
        "the importance factor is not applied",
        "weighted = weighted * importance_T",
        "weighted = weighted * 1.0",
        update("lag-truncated"),
    ),
    Mutation(
        "the importance ratio is inverted",
        "(old_logprobs_BT.double() - rollout_logprobs_BT.double())",
        "(rollout_logprobs_BT.double() - old_logprobs_BT.double())",
        update("lag-truncated"),
    ),
    Mutation(
        "truncation does not truncate",
        "ratio > high, ratio.clamp(max=high)",
        "ratio > high, ratio",
        update("lag-truncated"),
    ),
    Mutation(
        "the lower bound of the mask is ignored",
        "bounded = (ratio < low) | (ratio > high)",
        "bounded = ratio > high",
        update("lag-masked"),
    ),
    Mutation(
        "a sequence's ratio is that of its tokens",
        'if level == "sequence":',
        'if level == "never":',
        update("lag-sequence"),
    ),
    Mutation(
        "rollout log-probabilities in place of old ones",
        "old_logprobs_T=flat(logprobs.old_BT)",
        "old_logprobs_T=flat(rollouts.rollout_logprobs_BT)",
        update("lag-truncated"),
    ),
    # The update
    Mutation(
        "training at temperature 1",
        "_plan(self.policy, rollouts, run, self.temperature), entropy=True",
        "_plan(self.policy, rollouts, run, 1.0), entropy=True",
        update("gdpo"),
    ),
    Mutation(
        "old log-probabilities at temperature 1",
        "found = policy(make_plan(policy, rollouts, rows, temperature), entropy=entropy)",
        "found = policy(make_plan(policy, rollouts, rows, 1.0), entropy=entropy)",
        update("recomputed"),
    ),
    Mutation(
        "training at the temperature of the section, whatever a row says",
        "if all(each is None for each in own):",
        "if own:",
        update("own-temperatures"),
    ),
    Mutation(
        "captured log-probabilities follow the update",
        "if logprobs.capture and version is not None:",
        "if logprobs.capture:",
        update("captured"),
    ),
    Mutation(
        "log-probabilities are not recomputed",
        "recompute = training.recompute_logprobs or self.updater.importance is not None",
        "recompute = training.recompute_logprobs",
        update("lag-truncated"),
    ),
    Mutation(
        "advantages of the first rows of the batch for every micro-batch",
        "_advantages(experience.advantages, rows, mask)",
        "_advantages(experience.advantages, torch.arange(len(rows)), mask)",
        update("gdpo"),
    ),
    Mutation(
        "advantages by place in the rank's own batch",
        "_advantages(experience.advantages, rows, mask)",
        "_advantages(experience.advantages, run, mask)",
        two("ddp"),
    ),
    Mutation(
        "weights by place in the rank's own batch",
        "spread(batch.weights_B[rows])",
        "spread(batch.weights_B[run])",
        two("ddp"),
    ),
    Mutation(
        "the factor of the number of ranks is dropped, DDP",
        "manual_backward(loss * exchange.size)",
        "manual_backward(loss)",
        two("ddp"),
    ),
    Mutation(
        "the factor of the number of ranks is dropped, FSDP2",
        "manual_backward(loss * exchange.size)",
        "manual_backward(loss)",
        two("fsdp2"),
    ),
    Mutation(
        "gradients are exchanged after the first micro-batch",
        "with sync(number + 1 == passes):",
        "with sync(number == 0):",
        two("ddp"),
    ),
    Mutation(
        "gradients pile up", "            optimizer.zero_grad()\n        scheduler", "        scheduler", update("gdpo")
    ),
    Mutation("one epoch only", "epochs = range(training.inner_epochs)\n", "epochs = range(1)\n", update("gdpo")),
    Mutation(
        "the same mini-batches in every epoch",
        "seeds.derive(seed, seeds.MINI_BATCHES, step, epoch)",
        "seeds.derive(seed, seeds.MINI_BATCHES, step, 0)",
        update("gdpo"),
    ),
    Mutation(
        "the reference is the policy itself, full",
        "policy if lora else copy.deepcopy(policy).requires_grad_(False).eval()",
        "policy",
        update("grpo-k3"),
    ),
    Mutation(
        "the reference is the policy itself, LoRA",
        "with self._policy.model.disable_adapter():",
        "if True:",
        update("lora-k3"),
    ),
    Mutation("LoRA's alpha is ignored", '"lora_alpha": lora.alpha,', '"lora_alpha": lora.rank,', update("lora-k3")),
    Mutation(
        "the gradient forgets the temperature",
        "grad_T = grad_T / ctx.temperature",
        "grad_T = grad_T / 1.0",
        update("gdpo"),
    ),
    # Optimizer and schedule
    Mutation("weight decay is ignored", "weight_decay=self.weight_decay,\n            fused", "fused", update("gdpo")),
    Mutation(
        "betas are swapped", "            betas=self.betas,\n", "            betas=self.betas[::-1],\n", update("gdpo")
    ),
    Mutation(
        "eps is ignored",
        "eps=self.eps,\n            weight_decay",
        "eps=1e-8,\n            weight_decay",
        update("gdpo"),
    ),
    Mutation(
        "gradients are not clipped",
        "clip_grads_with_norm_(parameters, max_norm or math.inf, norm)",
        "clip_grads_with_norm_(parameters, math.inf, norm)",
        update("gdpo"),
    ),
    Mutation(
        "max_grad_norm 0 stops the run",
        "clip_grads_with_norm_(parameters, max_norm or math.inf, norm)",
        "clip_grads_with_norm_(parameters, max_norm, norm)",
        update("whole-batch"),
    ),
    Mutation("warm-up is off by one", "return (step + 1) / (warmup + 1)", "return (step + 1) / warmup", update("gdpo")),
    Mutation(
        "the schedule is off by one",
        "of_schedule = _asked(schedule, step - warmup,",
        "of_schedule = _asked(schedule, step - warmup + 1,",
        update("gdpo"),
    ),
    Mutation(
        "cosine is a quarter of a wave",
        "(1 + math.cos(math.pi * min(step / max(steps, 1), 1.0))) / 2",
        "math.cos(math.pi / 2 * min(step / max(steps, 1), 1.0))",
        update("grpo-k3"),
    ),
    Mutation("the schedule stands still", "        scheduler.step()\n", "", update("gdpo")),
    # What is sampled, and with which weights
    Mutation(
        "samples depend on the place in the step",
        "seeds.derive(self.seed, seeds.ROLLOUT, place) for place in places]",
        "seeds.derive(self.seed, seeds.ROLLOUT, place - position) for place in places]",
        SAMPLES,
    ),
    Mutation(
        "all members of a group have one stream",
        "keys = [(seeds[prompt], member) for prompt, member in wave]",
        "keys = [(seeds[prompt], 0) for prompt, member in wave]",
        SAMPLES,
    ),
    Mutation(
        "sampling at temperature 1",
        "(logits_NV if temperature == 1.0 else logits_NV / temperature).softmax(-1)",
        "logits_NV.softmax(-1)",
        SAMPLES,
    ),
    Mutation(
        "the token that crosses top_p is cut",
        "before_NM = probs_NM.cumsum(-1) - probs_NM",
        "before_NM = probs_NM.cumsum(-1)",
        BOTH_CUTS,
    ),
    Mutation("stop strings are ignored", "if stops is not None:", "if False:", SAMPLES),
    Mutation(
        "end-of-sequence tokens are ignored", "ended_N = torch.isin(tokens_N, ends)", "ended_N = tokens_N < 0", SAMPLES
    ),
    Mutation(
        "prompts are not shuffled",
        "order = _permutation(seed, epoch, size) if shuffle else np.arange(size)",
        "order = np.arange(size)",
        SAMPLES,
    ),
    Mutation(
        "every epoch has the order of the first",
        "order = _permutation(seed, epoch, size) if shuffle",
        "order = _permutation(seed, 0, size) if shuffle",
        SAMPLES,
    ),
    Mutation(
        "a lagging sampler keeps the first weights",
        "copy_weights(weights.pop(), self._copy.model)",
        "weights.pop()",
        update("lag"),
    ),
    Mutation(
        "evaluation seeds are all equal",
        "seeds.derive(config.seed, seeds.EVALUATION, row)",
        "seeds.derive(config.seed, seeds.EVALUATION, 0)",
        EVALUATION,
    ),
    Mutation(
        "evaluation draws from the streams of training",
        "seeds.derive(config.seed, seeds.EVALUATION, row)",
        "seeds.derive(config.seed, seeds.ROLLOUT, row)",
        EVALUATION,
    ),
    Mutation(
        "evaluation at the temperature of training",
        "return config.sampling if temperature is None else evolve(config.sampling, temperature=temperature)",
        "return config.sampling",
        EVALUATION,
    ),
    Mutation(
        "evaluation takes a missing reward for 0", "values_BK.nanmean(0)", "values_BK.nan_to_num().mean(0)", EVALUATION
    ),
    # Collection
    Mutation(
        "a dropped completion's other rewards are kept",
        "~scores.values_BK.isnan() & ~out_B[:, None]",
        "~scores.values_BK.isnan()",
        update("dropped"),
    ),
    Mutation(
        "a dropped completion stays in the loss",
        "torch.isin(scores.positions_B, ids) & ~scores.dropped_B",
        "torch.isin(scores.positions_B, ids)",
        update("dropped"),
    ),
    Mutation(
        "a failure counts 0 under every policy",
        'substitute = 0.0 if entry.on_failure == "zero" else torch.nan',
        "substitute = 0.0",
        update("missing"),
    ),
    Mutation(
        "a failure under zero is missing",
        'substitute = 0.0 if entry.on_failure == "zero" else torch.nan',
        "substitute = torch.nan",
        update("missing-grpo"),
    ),
    Mutation("every failure drops its completion", 'if entry.on_failure == "drop":', "if failures:", update("missing")),
    Mutation(
        "groups without signal are kept",
        "kept_P = wanted_P & self._with_signal(scores, step) if self.rounds else wanted_P",
        "kept_P = wanted_P",
        update("dynamic"),
    ),
    Mutation(
        "groups whose rewards cancel are dropped",
        "return (varies(low_PK, high_PK, rewards.bounds_K2) & weighted_PK).any(1)",
        "return groups.max((values_BK * weights).sum(1)) > groups.min((values_BK * weights).sum(1))",
        (f"{COLLECT}::test_groups_whose_rewards_cancel_in_the_sum_are_kept",),
    ),
    Mutation(
        "prompts of replaced groups come again",
        "consumed_prompts=sampled,",
        "consumed_prompts=self.prompts_per_step,",
        (f"{ORACLE}/test_sampling.py::test_groups_are_replaced_by_the_next_prompts_of_the_stream",),
    ),
    Mutation(
        "a rank takes the rows of the first",
        "start = base + sum(rank_sizes[number] for rank_sizes in sizes[: exchange.rank])",
        "start = base",
        two("ddp"),
    ),
    Mutation(
        "a rank sees its own scores only",
        "return BatchScores.concatenate(exchange.gather(local))",
        "return BatchScores.concatenate([local] * exchange.size)",
        two("ddp"),
    ),
    # Estimators
    Mutation("gdpo ignores the weights", "scores.mul_(of_w).sum(-1)", "scores.sum(-1)", update("gdpo")),
    Mutation(
        "gdpo leaves out the batch normalisation",
        "totals_B, terms_BK = totals_B / scale, terms_BK.div_(scale)",
        "pass",
        update("gdpo"),
    ),
    Mutation(
        "gdpo divides by n in place of n - 1",
        "std_PK = parts.std(self.ddof)",
        "std_PK = parts.std(0)",
        update("missing"),
    ),
    Mutation(
        "grpo leaves out the standard deviation",
        "over_B = groups.rows(divisor(std_P, eps_P))",
        "over_B = groups.rows(torch.ones_like(std_P))",
        update("grpo-k3"),
    ),
    Mutation(
        "a missing reward counts in the mean of its group",
        "complete else groups.number(valid_BK)",
        "complete else groups.number(valid_BK | True)",
        update("missing"),
    ),
    Mutation(
        "a condition must be exceeded in place of reached",
        "on_B >= on_B.new_tensor(condition.at_least)",
        "on_B > on_B.new_tensor(condition.at_least)",
        ("tests/advantage/test_conditioned.py",),
    ),
    Mutation(
        "a run trains on rewards without their conditions",
        "values_BK[:, k] = torch.where(counts[name], values_BK[:, k], 0.0)",
        "pass",
        update("conditioned"),
    ),
    Mutation(
        "a schedule of weights runs backwards",
        "return start + (end - start) * bend(share)",
        "return start + (end - start) * bend(1 - share)",
        update("schedule-grpo"),
    ),
    Mutation(
        "advantages stay in the order of the groups",
        "answer.values_B.index_select(0, given_B)",
        "answer.values_B",
        ("tests/advantage/test_groups.py",),
    ),
    Mutation(
        "a batch of several blocks loses its last groups",
        "for first in range(0, number, step):",
        "for first in range(0, number - step, step):",
        ("tests/advantage/test_groups.py",),
    ),
    Mutation(
        "the eps of a preset tells groups apart",
        "where = estimator._knobs() if preset else estimator",
        "where = estimator",
        ("tests/advantage/test_counting.py",),
    ),
    Mutation(
        "the share of merged pairs has no width where none was merged",
        " + z * z / (4 * n * n))",
        ")",
        ("tests/report/test_analyze.py",),
    ),
    Mutation(
        "a threshold out of reach is accepted",
        "condition.at_least > bounds[condition.on][1]",
        "condition.at_least < bounds[condition.on][0]",
        ("tests/advantage/test_conditioned.py",),
    ),
    # Metrics
    Mutation(
        "saturation is a share of what was seen in place of the bounds",
        "if (bounds := rewards.bounds.get(rewards.names[k])) is not None:",
        "if (bounds := None) is not None:",
        ("tests/training/test_metrics.py",),
    ),
    Mutation(
        "the ends of what was tried are exchanged",
        '((min(values), "smallest"), (max(values), "largest"))',
        '((max(values), "smallest"), (min(values), "largest"))',
        ("tests/compare/test_compare_tuning.py",),
    ),
    Mutation(
        "the loss is logged as a sum over optimizer steps",
        'totals.pop("loss", 0.0) / len(norms)',
        'totals.pop("loss", 0.0)',
        update("gdpo"),
    ),
    Mutation("the last gradient norm is logged for the mean", "sum(norms) / len(norms)", "norms[-1]", update("gdpo")),
    Mutation(
        "entropy with the wrong sign",
        "total.log().squeeze(-1) - expected",
        "total.log().squeeze(-1) + expected",
        update("gdpo"),
    ),
    Mutation(
        "the standard deviation of a reward divides by n",
        "REWARD_STD.of(name)] = float(present.std())",
        "REWARD_STD.of(name)] = float(present.std(correction=0))",
        update("gdpo"),
    ),
    Mutation(
        "dead groups are counted as living",
        "names.REWARD_DEAD_GROUPS: ~mixed_P,",
        "names.REWARD_DEAD_GROUPS: mixed_P,",
        update("missing"),
    ),
    # What stands between two turns
    Mutation(
        "the end token of a reply stands twice",
        "return tuple(more[more.index(last) + 1 :])",
        "return tuple(more[more.index(last) :])",
        (f"{BRIDGE}::test_the_tokens_are_those_of_the_package_renderers[qwen3]",),
    ),
    Mutation(
        "a reply that opens another message is continued",
        "if self._openers & {last, more[0]}:",
        "if False:",
        (f"{BRIDGE}::test_an_end_token_that_opens_another_message_ends_the_conversation[glm4moe]",),
    ),
    Mutation(
        "answers of an environment may forge turns",
        "shown, hidden = self.special.hide([changed(message, _whole_characters) for message in messages])",
        "shown, hidden = [changed(message, _whole_characters) for message in messages], self.special.hide([])[1]",
        (f"{BRIDGE}::test_no_answer_forges_a_turn[qwen3]",),
    ),
    Mutation(
        "thinking that was cut stays open",
        "return (*self._bridge.encode(closing), *more) if closing else more",
        "return more",
        (f"{BRIDGE}::test_thinking_that_was_cut_is_closed",),
    ),
    Mutation(
        "arguments of calls are not held against their schema",
        "return arguments, CallStatus.WRONG_ARGUMENTS if problem else CallStatus.OK, problem",
        'return arguments, CallStatus.OK, ""',
        ("tests/conversation/test_calls.py::test_what_is_wrong_with_a_call_is_said",),
    ),
    # Conversations
    Mutation(
        "tokens of the environment count as sampled",
        "self.sampled += [False] * len(ids)",
        "self.sampled += [True] * len(ids)",
        (f"{CONVERSATIONS}::test_what_is_learned_from_is_what_was_sampled",),
    ),
    Mutation(
        "log-probabilities of a turn are one place late",
        "self.logprobs += drawn.logprobs[:kept]",
        "self.logprobs += [0.0, *drawn.logprobs][:kept]",
        (f"{CONVERSATIONS}::test_what_is_learned_from_is_what_was_sampled",),
    ),
    Mutation(
        "later turns of all members have one seed",
        "seeds.derive(seed, seeds.TURN, member, turn)",
        "seeds.derive(seed, seeds.TURN, turn)",
        (f"{TOOLS}::test_every_turn_of_every_member_has_a_seed_of_its_own",),
    ),
    Mutation(
        "other rewards score a conversation whose environment failed",
        'return [] if policy == "zero" else rows',
        "return []",
        (f"{ENVIRONMENTS}::test_a_failure_is_told_apart_from_a_zero[abstain-raises-environment_failed-broken]",),
    ),
    Mutation(
        "a conversation in which nothing was said is scored",
        "for row, completion in enumerate(completions) if not completion.turns)}",
        "for row, completion in enumerate(completions) if False)}",
        (f"{ENVIRONMENTS}::test_what_was_never_said_is_not_scored",),
    ),
    Mutation(
        "conversations are drawn by the settings of the run alone",
        "Talk(evolve(prompt, sampling=None), group, member, seed, prompt.sampling or sampling)",
        "Talk(evolve(prompt, sampling=None), group, member, seed, sampling)",
        ("tests/training/test_rows_of_conversations.py::test_every_turn_is_drawn_by_the_settings_of_its_row",),
    ),
    Mutation(
        "descriptions of tools may forge turns",
        "texts_in([opening.prompt, opening.messages, opening.tools], keys=True)",
        "texts_in([opening.prompt, opening.messages], keys=True)",
        ("tests/conversation/test_opening.py::test_neither_messages_nor_tools_forge_a_turn[qwen3-keep]",),
    ),
    Mutation(
        "columns before a shorter history are seen",
        "scores_NHC[:, :, :width] += self.bias_N1W[:, :, begin:]",
        "pass",
        ("tests/rollout/test_turns.py::test_logprobs_of_every_turn_are_those_of_a_forward_pass[Llama]",),
    ),
    Mutation(
        "a sliding window takes every history for the longest",
        "hidden_NL = columns < (beyond - self.pads_N)[:, None]",
        "hidden_NL = columns < torch.full_like(self.pads_N, beyond)[:, None]",
        ("tests/rollout/test_turns.py::test_logprobs_of_every_turn_are_those_of_a_forward_pass[Mistral]",),
    ),
    Mutation(
        "a later turn goes on from keys and values of older weights",
        "if self._known is not None:  # computed with other weights",
        "if False:",
        ("tests/rollout/test_turns.py::test_other_weights_compute_everything_again",),
    ),
    Mutation(
        "a conversation that a limit cut is given zeros unasked",
        "if self.zero_at_limits and talk.status in LIMITS:",
        "if talk.status in LIMITS:",
        (f"{ENVIRONMENTS}::test_a_conversation_that_a_limit_ends_before_its_rewards_came[abstain-0.25]",),
    ),
    Mutation(
        "a conversation goes on beyond its limit of turns",
        "elif len(talk.turns) >= self.limits.turns:",
        "elif len(talk.turns) > self.limits.turns:",
        (f"{TOOLS}::test_every_limit_ends_a_conversation_with_its_status[turns]",),
    ),
    Mutation(
        "a batch sampled ahead forgets what the environment put after its prompts",
        'return evolve(prompt, prompt=content, text=saved["text"], token_ids=tuple(saved["token_ids"]))',
        "return prompt",
        (f"{CONVERSATIONS}::test_a_resumed_run_has_the_bits_of_a_whole_one[1]",),
    ),
    Mutation(
        "episodes stay open when a run is interrupted",
        "left = [talk.give_up() for talk in talks]",
        "left: list[Any] = []",
        (f"{ENVIRONMENTS}::test_episodes_are_closed_when_sampling_is_interrupted",),
    ),
    # Optimizers, schedules, lengths, adapters
    Mutation(
        "min_lr is a floor in place of the end of the fall",
        "least + (1 - least) * of_schedule if least",
        "max(least, of_schedule) if least",
        ("tests/optim/test_schedules.py::test_after_the_warm_up_a_schedule_is_that_of_transformers[min-lr]",),
    ),
    Mutation(
        "norms and biases decay, and matrices do not",
        'if decay == "matrices" and tensor.ndim < 2',
        'if decay == "matrices" and tensor.ndim >= 2',
        ("tests/optim/test_optimizers.py::test_adamw_leaves_norms_and_biases_without_decay_where_asked",),
    ),
    Mutation(
        "of sharded weights, each rank's part is a matrix of its own to muon",
        "whole = direction.full_tensor() if isinstance(direction, DTensor) else direction",
        "whole = direction.to_local() if isinstance(direction, DTensor) else direction",
        ("tests/optim/test_optimizers.py::test_sharded_weights_go_where_whole_ones_go",),
    ),
    Mutation(
        "weights that a pass of the reference gathered stay gathered",
        "            gather_anew(self._policy)\n",
        "",
        ("tests/training/test_options_on_ranks.py::test_two_ranks[fsdp2]",),
    ),
    Mutation(
        "muon takes embeddings, too",
        "return tensor.ndim == 2 and not any(part in name for part in self.adamw_for)",
        "return tensor.ndim == 2",
        ("tests/optim/test_optimizers.py::test_muon_trains_matrices_inside_the_model_and_adamw_the_rest",),
    ),
    Mutation(
        "epochs are rounded down",
        "math.ceil(self.epochs * rows / self.prompts_per_step)",
        "int(self.epochs * rows / self.prompts_per_step)",
        ("tests/training/test_optimizers_in_runs.py::test_epochs_survive_the_config_file",),
    ),
    Mutation(
        "the reference of an adapter that is trained on is the model without it",
        "lora = config.policy.lora is not None and config.policy.lora.adapter is None",
        "lora = config.policy.lora is not None",
        ("tests/training/test_adapters_in_runs.py::test_a_run_begins_with_the_adapter_that_it_is_given",),
    ),
    # Other trainers
    Mutation(
        "an estimator of turns goes into a trainer that knows no turns",
        'if getattr(chosen, "needs_turns", False):',
        'if getattr(chosen, "needs_turn", False):',
        (f"{TRL}::test_an_estimator_of_turns_is_refused_for_trl_does_not_say_where_they_lie",),
    ),
    Mutation(
        "advantages of tokens are thrown away",
        "if answer.values_BT is not None and not tokens:\n        raise ConfigError(",
        "if answer.values_BT is None and False:\n        raise ConfigError(",
        (f"{TRL}::test_advantages_of_tokens_are_refused_for_their_means_alone_would_arrive",),
    ),
    # What a run is said to have done
    Mutation(
        "an arithmetic is told that the contributions do not bear out",
        "if not np.abs(terms / divisor - logged).max() <= allowed:",
        "if False:",
        ("tests/report/test_arithmetic.py::test_contributions_of_another_kind_are_left_to_the_estimator",),
    ),
    Mutation(
        "a weighting that adapts is replayed with the weights of its first step",
        'options["weighting"] = LoggedWeights(used)',
        "pass",
        (
            "tests/training/test_samples.py::test_the_run_s_own_estimator_replays_every_step_without_being_named[lagrangian]",
        ),
    ),
    # Plugins of others
    Mutation(
        "the doctor takes any arguments of a method",
        "inspect.signature(own).bind(*[object()] * len(required.parameters))",
        "inspect.signature(own)",
        ("tests/authoring/test_doctor.py::test_a_fault_is_named",),
    ),
    Mutation(
        "a kit that is told of complete rewards draws missing ones",
        '**({"missing": False} if complete else {})',
        '**({"missing": True} if complete else {})',
        (
            "tests/properties/test_preset_laws.py::test_where_every_reward_is_there_presets_keep_the_laws_of_their_estimator",
        ),
    ),
    # The policy is what its folder says
    Mutation(
        "weights that a checkpoint lacks are drawn at random",
        'if missing := report["missing_keys"]:',
        "if missing := []:",
        ("tests/policy/test_policy_load.py::test_weights_that_would_be_drawn_at_random_are_refused",),
    ),
    Mutation(
        "an encoder is taken for a causal model",
        "if difference > LOOSE and again <= TOLERANCE:",
        "if difference > 1e9 and again <= TOLERANCE:",
        ("tests/policy/test_policy_load.py::test_a_model_that_sees_what_follows_is_refused",),
    ),
    Mutation(
        "another formula of a decoding step passes for rounding",
        "difference, tolerance = exactly, TOLERANCE",
        "difference, tolerance = exactly, STEPWISE",
        ("tests/rollout/test_trial.py::test_what_is_no_rounding_is_a_fault_however_small",),
    ),
    Mutation(
        "rows that are read again stay where they were when others leave",
        "self._ids_NS, self._lengths_N = self._ids_NS[order], self._lengths_N[order]",
        "self._ids_NS, self._lengths_N = self._ids_NS[: len(order)], self._lengths_N[: len(order)]",
        ("tests/rollout/test_trial.py::test_samples_have_the_logprobs_of_the_sequence_alone[NemotronH]",),
    ),
    # Weights of four bits
    Mutation(
        "the gradient through weights of four bits is doubled",
        "return (gradient @ dense_weight(ctx.weight)",
        "return (2 * gradient @ dense_weight(ctx.weight)",
        (f"{QUANTISED}::test_the_gradient_is_that_of_the_dense_matrix[float32]",),
    ),
    Mutation(
        "layers of any width get weights of four bits",
        "and module.in_features % BLOCK == 0",
        "and module.in_features > 0",
        (f"{QUANTISED}::test_a_weight_is_near_what_it_stands_for_or_stays_dense[96]",),
    ),
    Mutation(
        "checkpoints of adapters know the codes of their base, not the scales",
        "for part in (weight, *scales_of(weight)):",
        "for part in (weight,):",
        ("tests/training/test_quantised_in_runs.py::test_checkpoints_leave_the_codes_out_and_notice_other_scales",),
    ),
    # What comes from others, and what is on the disk
    Mutation(
        "log-probabilities above 0 are taken",
        "(values_BT <= ROUNDING)",
        "(values_BT == values_BT)",
        (f"{PROTECTION}::test_an_answer_that_no_model_can_learn_from_is_refused_by_name",),
    ),
    Mutation(
        "token ids outside of the vocabulary are taken",
        "| (ids_BT >= vocabulary))",
        "| (ids_BT != ids_BT))",
        (f"{PROTECTION}::test_an_answer_that_no_model_can_learn_from_is_refused_by_name",),
    ),
    Mutation(
        "contexts that the model cannot read are given to the backend",
        "if not 0 <= token < vocabulary),",
        "if not 0 <= token),",
        (f"{PROTECTION}::test_contexts_that_the_model_cannot_read_are_refused_before_the_backend_is_asked",),
    ),
    Mutation(
        "hooks may be coroutines",
        "if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):",
        "if inspect.isasyncgenfunction(function):",
        ("tests/plugins/test_broken_plugins.py::test_a_broken_plugin_is_set_aside_and_shown",),
    ),
    Mutation(
        "hooks may lack their mark",
        'elif name.startswith("morl_") and hasattr(manager.hook, name)',
        'elif name.startswith("morl__") and hasattr(manager.hook, name)',
        ("tests/plugins/test_broken_plugins.py::test_a_broken_plugin_is_set_aside_and_shown",),
    ),
    Mutation(
        "a plugin's sys.exit ends the command",
        "return isinstance(error, Exception) or type(error) is SystemExit",
        "return isinstance(error, Exception)",
        ("tests/plugins/test_broken_plugins.py::test_an_installed_plugin_that_exits_is_set_aside",),
    ),
    Mutation(
        "every rank of a node says what it does",
        'for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")',
        'for name in ("RANK", "NODE_RANK", "GROUP_RANK")',
        ("tests/test_progress.py::test_only_the_first_rank_speaks",),
    ),
    Mutation(
        "a file has its name before its content is on the disk",
        "        _sync(written)\n",
        "        pass\n",
        ("tests/artifacts/test_files.py",),
    ),
    Mutation(
        "a file's name need not be on the disk",
        "    _sync(path.parent)\n",
        "",
        ("tests/artifacts/test_files.py",),
    ),
    Mutation(
        "an estimator may answer with whole numbers",
        "if not found.is_floating_point():",
        "if not isinstance(found, Tensor):",
        ("tests/training/test_advantages.py",),
    ),
    Mutation(
        "held-out changes pair a prompt with the first one",
        "value - before.by_prompt[name][row] for",
        "value - next(iter(before.by_prompt[name].values())) for",
        ("tests/evaluation/test_evaluation_estimates.py::test_a_change_is_that_of_the_same_prompts",),
    ),
    Mutation(
        "rows that go on take the languages of others",
        "self._matchers = [self._matchers[row] for row in order.tolist()]",
        "self._matchers = self._matchers[: len(order)]",
        ("tests/rollout/test_constraint.py::test_a_row_is_the_same_whatever_it_is_drawn_with",),
    ),
    Mutation(
        "log-probabilities of a constrained draw are those of what it left",
        "return tokens_N1[:, 0], (logits_NV / (sampling.temperature or 1.0)).log_softmax",
        "return tokens_N1[:, 0], (penalised_NV / (sampling.temperature or 1.0)).log_softmax",
        ("tests/rollout/test_constraint.py::test_completions_are_of_the_language_and_log_probabilities_of_the_policy",),
    ),
    Mutation(
        "turns are resumed whatever the trial says",
        "fault = resuming_fault(trial_model(policy), policy.own_attention)",
        "fault = None",
        ("tests/rollout/test_trial.py::test_turns_that_cannot_be_resumed_are_computed_again",),
    ),
    # An evaluation over ranks
    Mutation(
        "what the other ranks scored is left out",
        "gathered = exchange.gather(BatchScores.concatenate(parts) if parts else None)",
        "gathered = [BatchScores.concatenate(parts) if parts else None]",
        EVALUATED,
    ),
    Mutation(
        "prompts that do not divide by the ranks are counted twice",
        "return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)",
        "return range(count * self.rank // self.size, -(-count * (self.rank + 1) // self.size))",
        EVALUATED,
    ),
    Mutation(
        "prompts that do not divide by the ranks are left out",
        "return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)",
        "return range(count // self.size * self.rank, count // self.size * (self.rank + 1))",
        EVALUATED,
    ),
    # Data, configs and comparisons
    Mutation(
        "of the tasks of a study one alone has best configurations",
        "tasks = by_task(medians, str, different).values()",
        "tasks = [*by_task(medians, str, different).values()][:1]",
        ("tests/analysis/test_tasks.py",),
    ),
    Mutation(
        "tasks are told by the first setting in which they differ",
        "told = [setting for setting in different if is_of_task(setting)]",
        "told = [setting for setting in different if is_of_task(setting)][:1]",
        ("tests/analysis/test_tasks.py",),
    ),
    Mutation(
        "of the tasks of a study one alone is drawn",
        "for task, names in tasks.items():\n        title =",
        "for task, names in [*tasks.items()][:1]:\n        title =",
        ("tests/analysis/test_tasks.py",),
    ),
    Mutation(
        "rows override the temperature of the evaluation",
        'keep = () if config.evaluation.temperature is None else ("temperature",)',
        "keep = ()",
        (f"{OVERRIDES}::test_held_out_rows_bring_theirs_but_a_temperature_of_the_evaluation_stands",),
    ),
    Mutation(
        "rows of held-out prompts bring no temperature",
        'keep = () if config.evaluation.temperature is None else ("temperature",)',
        'keep = ("temperature",)',
        (f"{OVERRIDES}::test_held_out_rows_bring_their_temperature_where_the_evaluation_has_none",),
    ),
    Mutation(
        "the column of the prompt stays one of the others",
        "columns = {name: value for name, value in row.items() if name != self.prompt}",
        "columns = {**row}",
        ("tests/prompts/test_rows.py",),
    ),
    Mutation(
        "the column `prompt` is taken for the prompt whatever the option says",
        "columns = {name: value for name, value in row.items() if name != self.prompt}",
        'columns = {name: value for name, value in row.items() if name != "prompt"}',
        ("tests/prompts/test_rows.py",),
    ),
    Mutation(
        "an evaluation of the initial policy by other rewards is taken",
        'for name, entry in (tree.get("rewards") or {}).items():\n        values = entry',
        "for name, entry in ():\n        values = entry",
        ("tests/training/test_initial.py",),
    ),
    Mutation(
        "an evaluation of the initial policy in another precision is taken",
        'kept["trainer"] = {"precision": (tree.get("trainer") or {}).get("precision")}',
        "pass",
        ("tests/training/test_initial.py",),
    ),
    Mutation(
        "an evaluation of the initial policy by another environment is taken",
        'for section in ("policy", "sampling", "environment", "rollout", "evaluation"):',
        'for section in ("policy", "sampling", "rollout", "evaluation"):',
        ("tests/training/test_initial.py",),
    ),
    Mutation(
        "an evaluation of the initial policy by another backend is taken",
        'for section in ("policy", "sampling", "environment", "rollout", "evaluation"):',
        'for section in ("policy", "sampling", "environment", "evaluation"):',
        ("tests/training/test_initial.py",),
    ),
    Mutation(
        "an evaluation of the initial policy on other prompts is taken",
        'for section in ("policy", "sampling", "environment", "rollout", "evaluation"):',
        'for section in ("policy", "sampling", "environment", "rollout"):',
        ("tests/training/test_initial.py",),
    ),
    Mutation(
        "an evaluation of the initial policy is refused for the weight of the environment's rewards",
        '    "environment": {"weight", "max_failed_steps"},\n',
        "",
        ("tests/training/test_initial.py",),
    ),
    Mutation(
        "an evaluation of the initial policy is refused for what only training reads",
        '    "rollout": {"lag", "max_logprob_difference"},\n    "evaluation": {"every", "initial"},\n',
        "",
        ("tests/training/test_initial.py",),
    ),
    Mutation(
        "an evaluation of the initial policy is refused for the checkpointing of gradients",
        '    "policy": {"gradient_checkpointing", "router_loss_coef"},\n',
        "",
        ("tests/training/test_initial.py",),
    ),
    Mutation(
        "parts that claim to be equal share a parser",
        "field(default=None, eq=cmp_using(eq=is_), hash=False)",
        "field(default=None, hash=False)",
        ("tests/config/test_shared_parser.py",),
    ),
    Mutation(
        "a key of another section is answered with what is usual",
        "foreign.hints(key, value, usual=not elsewhere)]:",
        "foreign.hints(key, value, usual=True)]:",
        ("tests/config/test_foreign.py",),
    ),
    Mutation(
        "what is usual is not known",
        "foreign.hints(key, value, usual=not elsewhere)]:",
        "foreign.hints(key, value, usual=bool(elsewhere))]:",
        ("tests/config/test_foreign.py",),
    ),
    Mutation(
        "of rendered chats the first row alone is looked at",
        "MOST_LOOKED = 1000",
        "MOST_LOOKED = 1",
        ("tests/prompts/test_template.py",),
    ),
    # Rewards that give nothing
    Mutation(
        "a reward without a single score is passed over",
        "                self._notice_missing(name, total)\n",
        "",
        (HEALTH,),
    ),
    Mutation(
        "a few completions without a score are warned of",
        "total.asked < _FEW or",
        "total.asked < 1 or",
        (HEALTH,),
    ),
    Mutation(
        "four completions are too few to be warned of",
        "total.asked < _FEW or",
        "total.asked <= _FEW or",
        (HEALTH,),
    ),
    Mutation(
        "a reward that scores none of a later step is warned of",
        "name in self._has_scored | self._all_missing:",
        "name in self._all_missing:",
        (HEALTH,),
    ),
    Mutation(
        "one score is warned of as none",
        "if total.missing < total.asked or total.asked < _FEW",
        "if total.asked < _FEW",
        (HEALTH,),
    ),
    Mutation(
        "a single failed completion ends the run",
        "elif total.failed > 1 and patience is not None:",
        "elif total.failed > 0 and patience is not None:",
        (HEALTH,),
    ),
    Mutation(
        "a reward that failed too often has one more step",
        "if name not in self._has_scored or in_a_row >= patience:",
        "if name not in self._has_scored or in_a_row > patience:",
        (HEALTH,),
    ),
    # Conversations that go on by themselves
    Mutation(
        "a stream ends before it has heard what was answered last",
        "if not (ready or flow.busy or self.asking.awaiting or self.asking.answered):",
        "if not (ready or flow.busy or self.asking.awaiting):",
        (STREAMS,),
    ),
    Mutation(
        "from the first late answer on everybody goes on waiting",
        "each_alone = each_alone or (self.asking.awaiting and not flow.busy)",
        "each_alone = each_alone",
        (f"{STREAMS}::test_once_somebody_was_late_nobody_waits_for_a_turn_that_is_sampled",),
    ),
    Mutation(
        "sets are told in the order of their process",
        "return sorted(value, key=lambda item: result_text(item, None))",
        "return list(value)",
        ("tests/environments/test_calling.py",),
    ),
    Mutation(
        "a conversation whose episode failed to open is sampled with the others of its prompt",
        "            if talk.stage is Stage.SAMPLING:\n",
        "            if True:\n",
        (f"{STREAMS}::test_what_could_not_be_opened_is_left_out_of_what_is_sampled",),
    ),
    Mutation(
        "a missing reward of a turn takes the place of a number",
        "earned[name] = before if value is None else",
        "earned[name] = None if value is None else",
        ("tests/conversation/test_talk.py",),
    ),
    Mutation(
        "a reward that is given twice for a turn counts once",
        "float(value) + (before or 0.0)",
        "float(value)",
        ("tests/conversation/test_talk.py",),
    ),
    Mutation(
        "a conversation bears the version of its newest turn",
        "self.version = drawn.version if self.version is None else min(drawn.version, self.version)",
        "self.version = drawn.version",
        ("tests/conversation/test_talk.py",),
    ),
    Mutation(
        "a turn of just as many tokens as there is room for is cut by the limit",
        "if min(context, tokens) < self.sampling.max_tokens:",
        "if min(context, tokens) <= self.sampling.max_tokens:",
        ("tests/conversation/test_talk.py",),
    ),
    Mutation(
        "the context is full before the limit of tokens is reached",
        "self.cut = CompletionStatus.TOKEN_LIMIT if tokens <= context else",
        "self.cut = CompletionStatus.TOKEN_LIMIT if tokens < context else",
        ("tests/conversation/test_talk.py",),
    ),
    # Turns that are resumed
    Mutation(
        "rows that are read on come back in the order of their lengths",
        "back = torch.tensor(order, device=device).argsort()",
        "back = torch.arange(len(order), device=device)",
        ("tests/rollout/test_turns.py::test_logprobs_of_every_turn_are_those_of_a_forward_pass[Llama]",),
    ),
    Mutation(
        "a resumed turn sees a token more than the sliding window",
        "visible = visible & (bucket.distance_nSK < sliding_window)",
        "visible = visible & (bucket.distance_nSK <= sliding_window)",
        ("tests/rollout/test_turns.py::test_logprobs_of_every_turn_are_those_of_a_forward_pass[Mistral]",),
    ),
    Mutation(
        "the padding before a short prompt is seen by its later turns",
        "there_nK = torch.cat([before_nL >= -prompt_n[:, None], own_nW >= 0], 1)",
        "there_nK = torch.cat([before_nL > -L - 1, own_nW >= 0], 1)",
        ("tests/rollout/test_turns.py::test_logprobs_of_every_turn_are_those_of_a_forward_pass[Llama]",),
    ),
    Mutation(
        "what was taken up again stays in memory",
        "remains.drop([each.row for each in known if each.remains is remains])",
        "pass",
        ("tests/rollout/test_turns.py::test_what_conversations_have_left_is_freed",),
    ),
    # Structured output
    Mutation(
        "a special token that is a stop is text to the language",
        "ends = sorted(end_tokens(self.tokenizer, self.generation_config) | stops)",
        "ends = sorted(end_tokens(self.tokenizer, self.generation_config))",
        ("tests/rollout/test_constraint.py::test_a_special_token_may_end_a_text_and_other_stops_may_not",),
    ),
    Mutation(
        "stops that are text end what is complete",
        "stops = {*self.sampling.stop_token_ids} & {*special_tokens(self.tokenizer).values()}",
        "stops = {*self.sampling.stop_token_ids}",
        ("tests/rollout/test_constraint.py::test_a_special_token_may_end_a_text_and_other_stops_may_not",),
    ),
    Mutation(
        "all rows write one text of the language",
        "[self._first.deep_copy() for _ in range(rows)]",
        "[self._first for _ in range(rows)]",
        ("tests/rollout/test_constraint.py",),
    ),
    Mutation(
        "columns of the vocabulary beyond the tokenizer's are not there",
        "torch.nn.functional.pad(allowed[:, :vocabulary], (0, max(vocabulary - self._width, 0)))",
        "allowed[:, :vocabulary]",
        (
            "tests/rollout/test_constraint.py::test_a_model_may_have_fewer_rows_of_embedding_than_its_tokenizer_has_tokens_or_more",
        ),
    ),
    # Weights in bfloat16
    Mutation(
        "weights in bfloat16 are rounded to the nearest",
        "weight.copy_(rounded(wide.data, self._generator(wide.device)))",
        "weight.copy_(wide.data)",
        (ROUNDED,),
    ),
    Mutation(
        "weights in bfloat16 are left where the step found them",
        "        self.optimizer.register_step_post_hook(self._after)\n",
        "        self.optimizer.register_step_post_hook(lambda *ignored: self.abandon())\n",
        (ROUNDED,),
    ),
    Mutation(
        "weights in bfloat16 are not put back into the optimizer",
        "            weight.copy_(rounded(wide.data, self._generator(wide.device)))\n        self._put_back()\n",
        "            weight.copy_(rounded(wide.data, self._generator(wide.device)))\n",
        (ROUNDED,),
    ),
    Mutation(
        "the draws of a step go on from those of the step before",
        "        self._seed = seed\n        self._generators = {}\n",
        "        self._seed = seed\n",
        (ROUNDED,),
    ),
    Mutation(
        "the moments stay with the copy of the weight",
        "            self._move_state(wide, weight)\n",
        "            pass\n",
        (ROUNDED,),
    ),
    Mutation(
        "what is not finite is rounded like a number",
        "return torch.where(values.isfinite(), bits.view(torch.float32), values).to(torch.bfloat16)",
        "return bits.view(torch.float32).to(torch.bfloat16)",
        (ROUNDED,),
    ),
    # Checkpoints, exports and the lock of a folder
    Mutation(
        "a lock that its holder took away is held for one",
        "if _is_there(lock, folder.lock) or look == MOST_LOOKS - 1:",
        "if True:",
        (f"{FILES}::test_a_lock_that_its_holder_takes_away_while_another_process_opens_it_is_taken_anew",),
    ),
    Mutation(
        "shards need not be whole",
        "if not shard.is_file() or shard.stat().st_size < end:",
        "if not shard.is_file():",
        (SHARDS,),
    ),
    Mutation(
        "a shard ends where it begins",
        "(checkpoint / part.relative_path, part.offset + part.length)",
        "(checkpoint / part.relative_path, part.offset)",
        (SHARDS,),
    ),
    Mutation(
        "sharded checkpoints need no file that is written last",
        '    if not (checkpoint / "meta.pt").is_file():\n',
        "    if False:\n",
        (SHARDS,),
    ),
    Mutation(
        "a sharded checkpoint is looked at by its number of steps alone",
        "        if (fault := _fault_of_shards(checkpoint)) is not None:\n            return fault\n",
        "",
        (SHARDS,),
    ),
    Mutation(
        "a sharded checkpoint of another step is taken at its name's word",
        "return None if _finished_steps_of_shards(checkpoint) == steps_in(checkpoint) else _MISNAMED",
        "return None",
        (f"{FILES}::test_a_sharded_checkpoint_of_another_step_is_set_aside",),
    ),
    Mutation(
        "a checkpoint that is set aside leaves its checksum",
        "            remove(checksum_of(checkpoint))\n",
        "",
        (SHARDS,),
    ),
    Mutation(
        "memory that tensors share is counted for each",
        "seen[storage.data_ptr()] = storage.nbytes()",
        "seen[len(seen)] = storage.nbytes()",
        (f"{FILES}::test_tensors_that_share_memory_are_counted_once",),
    ),
    Mutation(
        "the trial of an export draws dropout",
        "expected = policy.eval().model(ids).logits.cpu()",
        "expected = policy.model(ids).logits.cpu()",
        ("tests/policy/test_policy_export.py::test_contradictory_generation_configs_are_kept",),
    ),
    Mutation(
        "of ranks that know of each other the first alone exports",
        '    here["should_save_on_this_rank"] = lambda is_main_process: True\n',
        '    here["should_save_on_this_rank"] = model.should_save_on_this_rank\n',
        ("tests/policy/test_policy_save.py::test_every_rank_writes_the_folder_that_it_is_given",),
    ),
    # Places, shares and prices
    Mutation(
        "prompts have the places of the first rank",
        "positions_B=torch.tensor(rows)[rollouts.group_ids_B],",
        "positions_B=rollouts.group_ids_B,",
        EVALUATED,
    ),
    Mutation(
        "what a reward does not apply to counts as not scored",
        "shares[name] = float(present_B[asked_B].double().mean()) if asked_B.any() else 1.0",
        "shares[name] = float(present_B.double().mean()) if asked_B.any() else 1.0",
        EVALUATED,
    ),
    Mutation(
        "a prompt counts by the number of its completions that are scored",
        "return dict(zip(rows.tolist(), (sums_P / counts_P).tolist(), strict=True))",
        "return dict(zip(rows.tolist(), (sums_P / counts_P.max()).tolist(), strict=True))",
        EVALUATED,
    ),
    Mutation(
        "what failed is said to be missing, too",
        "missing=int((values_B.isnan() & ~failed[name]).sum()),",
        "missing=int((values_B.isnan() | failed[name]).sum()),",
        EVALUATED_ALONE,
    ),
    Mutation(
        "figures of a source are those of all completions",
        "names, values_BK[rows].nanmean(0).tolist(), strict=True)",
        "names, values_BK.nanmean(0).tolist(), strict=True)",
        EVALUATED,
    ),
    Mutation(
        "optimizer steps that were left out long ago count as in a row",
        "            self._in_a_row = 0\n            return True\n",
        "            return True\n",
        ("tests/training/test_nonfinite.py",),
    ),
    Mutation(
        "what a reward costs has the wrong sign",
        "lost = 0.0 - float(products.sum() / squares.sum())",
        "lost = 0.0 + float(products.sum() / squares.sum())",
        (MEASURES,),
    ),
    Mutation(
        "the interval of a price takes its residuals with the wrong sign",
        "moved = lost - (products + lost * squares) / squares.mean()",
        "moved = lost - (products - lost * squares) / squares.mean()",
        (MEASURES,),
    ),
    Mutation(
        "prompts count by their number of completions in a push",
        "(group_sums(groups, advantages_B * centred_B) / groups.sizes_P).tolist()",
        "group_sums(groups, advantages_B * centred_B).tolist()",
        (MEASURES,),
    ),
    Mutation(
        "a weight is looked for without an end",
        "if not now or high > HIGHEST_WEIGHT * now:",
        "if not now:",
        (MEASURES,),
    ),
    Mutation(
        "a success must exceed the bound of its reward",
        "passed_B = torch.where(values_B.isnan(), values_B, (values_B >= threshold).double())",
        "passed_B = torch.where(values_B.isnan(), values_B, (values_B > threshold).double())",
        (MEASURES,),
    ),
    Mutation(
        "a missing score is no success",
        "passed_B = torch.where(values_B.isnan(), values_B, (values_B >= threshold).double())",
        "passed_B = (values_B >= threshold).double()",
        (MEASURES,),
    ),
    Mutation(
        "completions with gaps are taken",
        "if (mask_BT[:, 1:] & ~mask_BT[:, :-1]).any():",
        "if False:",
        (f"{PROTECTION}::test_an_answer_that_no_model_can_learn_from_is_refused_by_name",),
    ),
    Mutation(
        "what was left out is said to be clipped",
        '    found_BT[left_out_B] = FATES.index("masked")\n',
        '    found_BT[left_out_B & (found_BT[:, 0] != FATES.index("clipped"))] = FATES.index("masked")\n',
        ("tests/training/test_fates.py",),
    ),
    Mutation(
        "tokens of an environment are said to be learned from",
        '    found_BT[~rollouts.sampled_mask_BT] = FATES.index("read")\n',
        "",
        ("tests/training/test_fates.py",),
    ),
)

SHORT = (
    "training at temperature 1",
    "the importance factor is not applied",
    "a dropped completion's other rewards are kept",
    "evaluation seeds are all equal",
)
"""Names of those that `make test` applies."""
