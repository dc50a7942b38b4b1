"""What `morl.train` has to compute, written down a second time: plain PyTorch, float64, one completion at a time.

Nothing of morl is imported.  A run supplies its completions, and with LoRA the initial values of its adapters.
Scores, log-probabilities, advantages, losses, gradients, AdamW and every metric are worked out here from the published
formulas.  AdamW is written out, because morl takes torch's.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from plain_setup import FAILED, Group, Setup
from torch import Tensor, nn


def plain_run(
    setup: Setup, model: nn.Module, rollouts: Sequence[Sequence[Group]], adapters: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Trains `model`, float64, in place; returns the weights that were trained, and the metrics of every step."""
    reference = copy.deepcopy(model)
    trained = _add_adapters(model, setup, adapters) if adapters else dict(model.named_parameters())
    moments = {name: (torch.zeros_like(weight), torch.zeros_like(weight)) for name, weight in trained.items()}
    updates, past, history, coefficient, last_entropy = 0, [], [], setup.entropy_coef, math.inf
    for step, sampled in enumerate(rollouts):
        past.append(copy.deepcopy(model))
        groups = [group for group in sampled if not setup.dynamic or _varies(setup, group)]
        rows = [(prompt, ids) for prompt, completions in groups for ids in completions]
        group_of = torch.tensor([g for g, (_, completions) in enumerate(groups) for _ in completions])
        scores, failed, dropped = _scores(setup, [ids for _, ids in rows])
        cut = torch.tensor([setup.cut(ids) for _, ids in rows])
        if setup.mask_truncated == "statistics":
            scores[cut] = math.nan
        contributions = advantages(setup, scores, group_of, step)
        with torch.no_grad():
            sampler = past[max(step - setup.lag, 0)]
            rollout = [logprobs(sampler, *row, setup.heat(row[0]))[0] for row in rows]
            fresh = setup.recompute or (setup.correction is not None and setup.loss != "vespo")
            old = [logprobs(model, *row, setup.heat(row[0]))[0] for row in rows] if fresh else rollout
            far = [logprobs(reference, *row, setup.heat(row[0]))[0] for row in rows]
            # Rounded, so that the first tokens of a group, which are drawn from one distribution, have one entropy.
            entropies = [logprobs(model, *row, setup.heat(row[0]))[1].round(decimals=9) for row in rows]

        lr = setup.lr * rate_factor(setup, step)
        losses, norms, seen = [], [], defaultdict(list)
        bonus = coefficient if setup.entropy_target is None or last_entropy <= setup.entropy_target else 0.0
        for epoch in range(setup.inner_epochs):
            for chosen in deal(setup, len(groups), step, epoch):
                used = [b for b in range(len(rows)) if int(group_of[b]) in chosen and not dropped[b]]
                used = [b for b in used if not (setup.mask_truncated and cut[b])]
                lowest = lowest_entropy(setup, [entropies[b] for b in used])
                among = sum(int((entropies[b] >= lowest).sum()) for b in used)
                loss = sum(0.0 * weight.sum() for weight in trained.values())  # where every completion was dropped
                for b in used:
                    now, entropy = logprobs(model, *rows[b], setup.heat(rows[b][0]))
                    kept = (entropies[b] >= lowest).double()
                    values, figures = token_losses(setup, now, old[b], rollout[b], far[b], contributions[b].sum(), kept)
                    loss = loss + values.sum() / divisor(setup, [len(rows[u][1]) for u in used], len(now))
                    loss = loss - bonus * (entropy * kept).sum() / among
                    for name, figure in (figures | {"policy/entropy": entropy}).items():
                        seen[name].append(figure.detach())
                gradients = torch.autograd.grad(loss, list(trained.values()))
                losses.append(loss.item())
                norms.append(math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)))
                updates += 1
                _adamw(setup, trained, gradients, norms[-1], moments, updates, lr)
        if (step + 1) % (setup.sync_every or len(rollouts) + 1) == 0:
            for theirs, mine in zip(reference.parameters(), model.parameters(), strict=True):
                theirs.data = (1 - setup.mixup) * theirs.data + setup.mixup * mine.data
        last_entropy = float(torch.cat(seen["policy/entropy"]).mean())
        if setup.entropy_target is not None:  # Skywork-OR1 (arXiv 2505.22312), section 4
            coefficient += setup.entropy_delta * (1 if last_entropy <= setup.entropy_target else -1)
            coefficient = min(max(coefficient, 0.0), 1.0)
        history.append(
            {
                **({"policy/entropy_coef": bonus} if setup.entropy_coef or setup.entropy_target else {}),
                "loss": sum(losses) / len(losses),
                "optimizer/lr": lr,
                "optimizer/grad_norm": sum(norms) / len(norms),
                "rollout/lag": float(min(step, setup.lag)),
                "rollout/logprob_difference": 0.0,
                "groups/kept": len(groups) / len(sampled),
                **{name: float(torch.cat(values).mean()) for name, values in seen.items()},
                **_reward_metrics(setup, scores, failed, group_of, contributions),
                **_completion_metrics(dropped, [len(ids) for _, ids in rows]),
            }
        )
    return {name: weight.detach().clone() for name, weight in trained.items()}, history


def token_losses(
    setup: Setup, now: Tensor, old: Tensor, rollout: Tensor, far: Tensor, advantage: Tensor, kept: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and figures of each token of one completion, from its log-probabilities under the four policies.

    `kept` says which tokens have a surrogate; KL k1 (with the gradient of k2), k2 or k3
    (http://joschu.net/blog/kl-approx.html); and the importance factor old / rollout around both.
    """
    ratio, d = (now - old).exp(), now - far
    losses, figures = surrogate(setup, now, old, rollout, advantage)
    if setup.off_policy_threshold is not None:
        left = (rollout - now).mean() > setup.off_policy_threshold and advantage < 0
        losses = losses * (0.0 if left else 1.0)
        figures["policy/off_policy"] = torch.full_like(ratio, float(left))
    if setup.kl_unbiased:
        kl = ratio * (d if setup.kl_estimator == "k1" else torch.exp(-d) - 1 + d)
    else:
        k2 = d**2 / 2
        kl = {"k1": k2 + (d - k2).detach(), "k2": k2, "k3": torch.exp(-d) - 1 + d}[setup.kl_estimator]
    losses = losses * kept + setup.kl_coef * kl
    figures["policy/kl_old"] = ratio - 1 - ratio.log()
    if setup.kl_coef:
        figures["policy/kl_reference"] = kl
    if setup.correction is not None and setup.loss != "vespo":
        factor, outside = importance(setup, old - rollout)
        losses = losses * factor
        figures |= {"importance/mean": factor, "importance/bounded": outside.double()}
    return losses, figures


def surrogate(
    setup: Setup, now: Tensor, old: Tensor, rollout: Tensor, advantage: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The policy's part of the loss of one completion.

    PPO's clip (arXiv 1707.06347, eq. 7), two-sided with a delta (2505.07291); GSPO, GSPO-token (2507.18071, eq. 5, 7
    and 13) and LUSPO (2602.05261); CISPO (2506.13585, eq. 4); SAPO (2511.20347); VESPO (2602.10693).
    """
    ratio, options = (now - old).exp(), setup.options
    if setup.loss == "cispo":
        weight = ratio.detach().clip(options["min_ratio"], options["max_ratio"])
        figures = {"policy/clip_fraction": (weight != ratio).double(), "policy/ratio": ratio}
        return -weight * advantage * now, figures
    if setup.loss == "sapo":
        tau = options["temperature_positive"] if advantage > 0 else options["temperature_negative"]
        gate = 1 / (1 + torch.exp(-tau * (ratio - 1)))
        return -4 / tau * gate * advantage, {"policy/ratio": ratio, "policy/gate": 4 * gate * (1 - gate)}
    if setup.loss == "vespo":
        k, lam = (2.0, 3.0) if advantage >= 0 else (3.0, 2.0)
        w = (now - rollout).sum().exp().detach()
        weight = (w**k * torch.exp(lam * (1 - w))).expand(len(now))
        return -weight * advantage * now, {"policy/ratio": ratio, "policy/weight": weight}
    if setup.loss in ("gspo", "luspo"):
        ratio = (now - old).mean().exp().expand(len(now))
    if setup.loss == "gspo-token":
        ratio = (now - old).mean().exp().detach() * now.exp() / now.exp().detach()
    high = setup.clip_low if setup.clip_high is None else setup.clip_high
    bounded = torch.clip(ratio, 1 - setup.clip_low, 1 + high)
    free = torch.clip(ratio, max=options.get("delta", math.inf))
    stopped = (bounded * advantage < free * advantage) | ((free < ratio) & (advantage < 0))
    losses = -torch.minimum(free * advantage, bounded * advantage)
    return losses, {"policy/clip_fraction": stopped.double(), "policy/ratio": ratio}


def lowest_entropy(setup: Setup, entropies: Sequence[Tensor]) -> float:
    """What the entropy of a token must reach (arXiv 2506.01939, eq. 5), of the tokens of an optimizer step."""
    if setup.top_entropy == 1 or not entropies:
        return -math.inf
    return float(torch.quantile(torch.cat(list(entropies)), 1 - setup.top_entropy))


def divisor(setup: Setup, lengths: Sequence[int], length: int) -> int:
    """Of the loss of a completion, given the lengths of all completions of the optimizer step and its own."""
    return {
        "token-mean": sum(lengths),
        "sequence-mean": len(lengths) * length,
        "sequence-sum": len(lengths),
        "dr-grpo": len(lengths) * setup.max_tokens,
    }[setup.aggregation]


def logprobs(model: nn.Module, prompt: Sequence[int], ids: Sequence[int], temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability of each token of a completion, and the entropy that it was drawn with: transformers' forward."""
    logits: Tensor = model(input_ids=torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    log = (logits.double() / temperature).log_softmax(-1)
    return log[torch.arange(len(ids)), torch.tensor(ids)], -(log.exp() * log).sum(-1)


def conditioned(setup: Setup, scores: Tensor) -> Tensor:
    """Scores as the estimator sees them: GDPO paper, eq. 8; where it is not known whether a reward counts, NaN."""
    if setup.condition is None:
        return scores
    limited, on = ([*setup.rewards].index(name) for name in setup.condition[:2])
    seen = scores.clone()
    seen[scores[:, on] < setup.condition[2], limited] = 0.0
    seen[scores[:, on].isnan() | scores[:, limited].isnan(), limited] = math.nan
    return seen


def weight_of(setup: Setup, name: str, step: int, spread: Mapping[str, float]) -> float:
    """Weight of a reward in one group, in which the rewards have these standard deviations."""
    weight = setup.weights.get(name, 1.0)
    if setup.weighting == "schedule":  # from twice the weight to half of it in two steps
        return weight * (2.0 - 1.5 * min(step, 2) / 2)
    if setup.weighting == "dvao":  # arXiv 2605.25604
        total = sum(abs(setup.weights.get(other, 1.0)) * std for other, std in spread.items())
        return weight * spread[name] / total if total else 0.0
    return weight


def advantages(setup: Setup, scores: Tensor, group_of: Tensor, step: int) -> Tensor:
    """What each reward adds to each advantage (B, K); GDPO paper (arXiv 2601.05242), eq. 1, 2 and 4 to 7, eps 1e-6."""
    parts, eps = torch.zeros_like(scores), 1e-6
    scores = conditioned(setup, scores)
    has_any = ~scores.isnan().all(1)
    for g in group_of.unique():
        members = group_of == g
        kept = [scores[members & ~scores[:, k].isnan(), k] for k in range(scores.shape[1])]
        spread = {
            name: float(values.std()) if len(values) > 1 else 0.0
            for name, values in zip(setup.rewards, kept, strict=True)
        }
        for k, name in enumerate(setup.rewards):
            present = members & ~scores[:, k].isnan()
            values = scores[present, k]
            if len(values) and values.min() < values.max():
                centred = values - values.mean()
                scale = values.std() if setup.estimator == "gdpo" else 1.0
                parts[present, k] = weight_of(setup, name, step, spread) * centred / scale
        if setup.estimator == "grpo":
            parts[members] /= _root_mean_square(parts[members & has_any].sum(1)) + eps
    return parts / (_root_mean_square(parts[has_any].sum(1)) + eps) if setup.estimator == "gdpo" else parts


def _root_mean_square(values: Tensor) -> Tensor:
    """Standard deviation, n - 1, of values whose mean is 0."""
    return (values.square().sum() / max(len(values) - 1, 1)).sqrt()


def importance(setup: Setup, difference: Tensor) -> tuple[Tensor, Tensor]:
    """Factor on each token of one completion, from log old - log rollout, and whether its ratio was out of bounds."""
    ratio = difference.exp() if setup.level == "token" else difference.sum().exp().expand(len(difference))
    if setup.correction == "truncated":
        return ratio.clip(max=setup.high), ratio > setup.high
    outside = (ratio < setup.low) | (ratio > setup.high)
    return torch.where(outside, 0.0, ratio), outside


def rate_factor(setup: Setup, step: int) -> float:
    """Of the learning rate: 1/(w+1), 2/(w+1), .. in the w steps of warm-up, then 1 down to 0 where the run ends."""
    if step < setup.warmup_steps:
        return (step + 1) / (setup.warmup_steps + 1)
    done = (step - setup.warmup_steps) / (setup.steps - setup.warmup_steps)
    return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[setup.schedule]


def deal(setup: Setup, groups: int, step: int, epoch: int) -> list[set[int]]:
    """Which groups each optimizer step learns from: a new random order in every epoch, cut into even parts."""
    count = min(setup.mini_batches, groups)
    if count == 1:
        return [set(range(groups))]
    generator = np.random.Generator(np.random.Philox(seed_of(setup.seed, 2, step, epoch)))
    return [{*part.tolist()} for part in np.array_split(generator.permutation(groups), count)]


def seed_of(*place: int) -> int:
    """The documented seed of one random draw: of the run's seed, the purpose, and the place in the run."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]) >> 1


def _adamw(
    setup: Setup,
    trained: Mapping[str, Tensor],
    gradients: Sequence[Tensor],
    norm: float,
    moments: Mapping[str, tuple[Tensor, Tensor]],
    t: int,
    lr: float,
) -> None:
    """Loshchilov and Hutter, arXiv 1711.05101, algorithm 2, on gradients that are scaled down to the largest norm."""
    (b1, b2), scale = setup.betas, min(1.0, setup.max_grad_norm / (norm + 1e-6)) if setup.max_grad_norm else 1.0
    for (name, weight), gradient in zip(trained.items(), gradients, strict=True):
        m, v = moments[name]
        m.copy_(b1 * m + (1 - b1) * scale * gradient)
        v.copy_(b2 * v + (1 - b2) * (scale * gradient) ** 2)
        step = (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + setup.eps)
        weight.data -= lr * step + lr * setup.weight_decay * weight.data


class _LowRank(nn.Module):
    """W + alpha / r * B A (arXiv 2106.09685) in place of W."""

    def __init__(self, A: Tensor, B: Tensor, scale: float) -> None:
        super().__init__()
        self.A, self.B, self.scale = nn.Parameter(A), nn.Parameter(B), scale

    def forward(self, W: Tensor) -> Tensor:
        return W + self.scale * self.B @ self.A


def _add_adapters(model: nn.Module, setup: Setup, adapters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Puts adapters at the modules that have initial values; returns what is trained, by the same names."""
    model.requires_grad_(False)
    trained: dict[str, Tensor] = {}
    for name, A in adapters.items():
        path, _, end = name.partition(".lora_A.")
        if end:
            B = f"{path}.lora_B.{end}"
            assert not adapters[B].any(), "adapters begin as the model without them"
            low_rank = _LowRank(A.double(), adapters[B].double(), setup.lora_alpha / setup.lora_rank)
            module = model.get_submodule(path.removeprefix("base_model.model."))
            nn.utils.parametrize.register_parametrization(module, "weight", low_rank)
            trained |= {name: low_rank.A, B: low_rank.B}
    return trained


def _scores(setup: Setup, completions: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, K) with NaN for missing ones, failures (B, K) and dropped completions (B,), which have no score."""
    given = [[reward(ids) for reward in setup.rewards.values()] for ids in completions]
    failed = torch.tensor([[score == FAILED for score in row] for row in given])
    replaced = {None: math.nan, FAILED: 0.0 if setup.on_failure == "zero" else math.nan}
    scores = torch.tensor([[replaced.get(s, s) for s in row] for row in given], dtype=torch.float64)  # type: ignore[arg-type]
    dropped = failed.any(1) if setup.on_failure == "drop" else torch.zeros(len(given), dtype=torch.bool)
    scores[dropped] = math.nan
    return scores, failed, dropped


def _varies(setup: Setup, group: Group) -> bool:
    """Whether some reward tells the completions of a group apart."""
    scores = _scores(setup, group[1])[0]
    return any(len(column[~column.isnan()].unique()) > 1 for column in scores.T)


def _reward_metrics(
    setup: Setup, scores: Tensor, failed: Tensor, group_of: Tensor, contributions: Tensor
) -> dict[str, float]:
    values, metrics = contributions.sum(1), {}
    alive = torch.zeros(len(group_of.unique()), scores.shape[1], dtype=torch.bool)
    seen = alive.clone()
    for k, name in enumerate(setup.rewards):
        present = scores[~scores[:, k].isnan(), k]
        for g in group_of.unique():
            column = scores[group_of == g, k]
            alive[g, k] = len(column[~column.isnan()].unique()) > 1
            column = conditioned(setup, scores)[group_of == g, k]
            seen[g, k] = len(column[~column.isnan()].unique()) > 1
        metrics |= {
            f"reward/{name}/mean": float(present.mean()),
            f"reward/{name}/std": float(present.std()),
            f"reward/{name}/dead_groups": float((~alive[:, k]).double().mean()),
            f"reward/{name}/groups_mixed": float(alive[:, k].double().mean()),
            f"reward/{name}/min": float(present.min()),
            f"reward/{name}/max": float(present.max()),
            f"reward/{name}/failed": float(failed[:, k].double().mean()),
            f"reward/{name}/missing": float(scores[:, k].isnan().double().mean()),
            f"reward/{name}/advantage_share": float((contributions[:, k] * values).sum() / values.square().sum()),
        }
    first, second = setup.rewards
    both = scores[~scores.isnan().any(1)]
    return metrics | {
        f"contribution_covariance/{first}~{second}": float(contributions.prod(1).sum() / values.square().sum()),
        f"reward_correlation/{first}~{second}": float(np.corrcoef(both.T)[0, 1]),
        "reward/distinct_combinations": float(len({tuple(map(str, row)) for row in scores.tolist()})),
        "advantage/distinct": float(len({round(value, 9) + 0.0 for value in values.tolist()})),
        "advantage/std": float(values.square().mean().sqrt()),
        "advantage/max_abs": float(values.abs().max()),
        "groups/with_signal": float(seen.any(1).double().mean()),
    }


def _completion_metrics(dropped: Tensor, lengths: Sequence[int]) -> dict[str, float]:
    return {
        "completions/dropped": float(dropped.double().mean()),
        "completions/length_mean": sum(lengths) / len(lengths),
        "completions/length_max": float(max(lengths)),
    }


def distance(first: Mapping[str, Tensor], second: Mapping[str, Any]) -> float:
    """Euclidean distance between two sets of weights."""
    return math.sqrt(sum(float((first[name].double() - second[name].double()).square().sum()) for name in first))
