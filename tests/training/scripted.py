"""A plugin for the tests of conversations: completions whose tokens were not all sampled, and parts that look at turns.

Run as a program, `scripted.py CONFIG`, it trains with the plugin, also on several ranks.
"""

from __future__ import annotations

import json
import random
import sys
from itertools import groupby
from typing import Any, ClassVar

import torch
from attrs import define, field, frozen

from morl import hookimpl, train
from morl.advantage import GRPO
from morl.loss import ClippedLoss
from morl.types import Advantages, CompletionStatus, RolloutBatch, TokenLosses, Turn

# s: sampled, f: foreign.  Foreign tokens first, last, alone, between; up to four turns.
PATTERNS = ("sss", "ssffsss", "ffss", "ssff", "ffff", "sfsffffs", "s", "fsfsfsfsf", "ssssssffs", "sfs")


@define(eq=False)
class ScriptedBackend:
    """Draws any tokens after a pattern; their log-probabilities are those of transformers' own forward, plus noise.

    What a completion is depends on the seed of its prompt and its number in the group alone.
    """

    noise: float = 0.0
    _policy: Any = field(init=False, default=None)
    _engine: Any = field(init=False, default=None)
    _tokenizer: Any = field(init=False, default=None)
    _version: int = field(init=False, default=0)

    def start(self, policy, tokenizer, model_path):
        from transformers import AutoModelForCausalLM

        self._policy, self._tokenizer = policy, tokenizer
        self._engine = AutoModelForCausalLM.from_pretrained(model_path).eval()

    def sync_weights(self, version):
        if self._policy.model is self._policy.base_model:
            weights = self._policy.base_model.state_dict()
            self._engine.load_state_dict(
                {name: getattr(w, "full_tensor", lambda w=w: w)() for name, w in weights.items()}
            )
        self._version = version

    def close(self):
        self._policy = self._engine = self._tokenizer = None

    def generate(self, prompts, n, sampling, seeds):
        rows = [
            self._row(prompt, seed, m, sampling) for prompt, seed in zip(prompts, seeds, strict=True) for m in range(n)
        ]
        B, T = len(rows), max(len(ids) for ids, *_ in rows)
        ids_BT = torch.zeros(B, T, dtype=torch.int64)
        mask_BT, sampled_BT = torch.zeros(B, T, dtype=torch.bool), torch.zeros(B, T, dtype=torch.bool)
        logprobs_BT = torch.zeros(B, T)
        for b, (ids, sampled, logprobs, _, _) in enumerate(rows):
            ids_BT[b, : len(ids)] = torch.tensor(ids)
            mask_BT[b, : len(ids)] = True
            sampled_BT[b, : len(ids)] = torch.tensor(sampled)
            logprobs_BT[b, : len(ids)] = logprobs
        turns, statuses = tuple(row[3] for row in rows), tuple(row[4] for row in rows)
        return RolloutBatch(
            prompts=tuple(prompts),
            group_ids_B=torch.arange(len(prompts)).repeat_interleave(n),
            completion_ids_BT=ids_BT,
            completion_mask_BT=mask_BT,
            rollout_logprobs_BT=logprobs_BT,
            truncated_B=torch.tensor([bool(own) and own[-1].truncated for own in turns]),
            texts=tuple(own[-1].text if own else "" for own in turns),
            weights_versions_B=torch.full((B,), self._version),
            sampled_mask_BT=sampled_BT,
            turns=turns,
            statuses=statuses,
            infos=tuple({"pattern": len(ids)} for ids, *_ in rows),
        )

    @torch.no_grad()
    def _row(self, prompt, seed, member, sampling):
        source = random.Random(f"{seed} {member}")
        pattern = PATTERNS[(seed + member) % len(PATTERNS)]
        ids = [source.randrange(2, self._engine.config.vocab_size) for _ in pattern]
        sampled = [kind == "s" for kind in pattern]
        sequence = torch.tensor([[*prompt.token_ids, *ids]])
        logits = self._engine(input_ids=sequence, use_cache=False).logits[0, len(prompt.token_ids) - 1 : -1]
        table = (logits / sampling.temperature).log_softmax(-1)
        noise = torch.tensor([source.gauss(0, self.noise) if self.noise else 0.0 for _ in ids])
        logprobs = table.gather(1, torch.tensor(ids)[:, None])[:, 0] + noise
        turns = self._turns(pattern, ids, member)
        if not turns:
            status = CompletionStatus.ENVIRONMENT_FAILED
        elif turns[-1].truncated:
            status = CompletionStatus.TRUNCATED
        else:
            status = CompletionStatus.COMPLETED if pattern[-1] == "s" else CompletionStatus.TURN_LIMIT
        return ids, sampled, logprobs * torch.tensor(sampled), turns, status

    def _turns(self, pattern, ids, member):
        turns, column = [], 0
        for kind, run in groupby(pattern):
            end = column + len(list(run))
            text = self._tokenizer.decode(ids[column:end], skip_special_tokens=True)
            if kind == "s":
                cut = end == len(pattern) and member % 2 == 1
                turns.append(Turn(column, end, text, {"role": "assistant", "content": text}, (), cut))
            column = end
        return tuple(turns)


@frozen
class Entropic(ClippedLoss):
    """The clipped loss with a bonus for entropy, without the completions that a limit cut."""

    bonus: float = 0.1
    seen: ClassVar[list[Any]] = []

    def __call__(self, batch):
        self.seen.append(batch)
        losses = super().__call__(batch)
        whole_T = (~batch.truncated_B)[batch.rows_T]
        return TokenLosses((losses.values_T - self.bonus * batch.entropy_T) * whole_T, losses.metrics)


@frozen
class LaterTurnsCount:
    """GRPO, whose advantage grows with the number of the turn."""

    def __call__(self, rewards):
        answer = GRPO()(rewards)
        values_BT = torch.full(rewards.sampled_mask_BT.shape, torch.nan, dtype=torch.float64)
        for row, spans in enumerate(rewards.spans):
            for number, (start, end) in enumerate(spans, 1):
                values_BT[row, start:end] = answer.values_B[row] * number
        return Advantages(answer.values_B, answer.contributions_BK, values_BT)


@hookimpl
def morl_register_rollout_backends():
    return {"scripted": ScriptedBackend}


@hookimpl
def morl_register_policy_losses():
    return {"entropic": Entropic}


@hookimpl
def morl_register_advantage_estimators():
    return {"later-turns": LaterTurnsCount}


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        train(json.load(file), plugins=[sys.modules[__name__]])
