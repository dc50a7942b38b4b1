"""A rollout backend whose replies a test prescribes, and a chat template for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch

from morl.types import RolloutBatch

TEMPLATE = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}"
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<eos>{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)


def call(name: str, **arguments: Any) -> str:
    """A call of a tool as the template writes it."""
    return "<tool_call>" + json.dumps({"name": name, "arguments": arguments}) + "</tool_call>"


class Scripted:
    """Says what `script(context, member, turn)` says, and then `<eos>`."""

    in_process = False

    def __init__(self, script: Callable[[str, int, int], str]) -> None:
        self.script, self.calls, self.seeds = script, [], []

    def start(self, policy, tokenizer, model_path):
        self._tokenizer = tokenizer

    def sync_weights(self, version):
        self._version = version

    def close(self):
        pass

    def generate(self, prompts, n, sampling, seeds):
        rows = []
        self.seeds.append(list(seeds))
        self.calls.append([prompt.token_ids for prompt in prompts])
        for prompt in prompts:
            context = self._tokenizer.decode(prompt.token_ids)
            turn = context.count("<assistant> ") - 1
            for member in range(n):
                ids = self._tokenizer.encode(self.script(context, member, turn) + "<eos>")
                rows.append((ids[: sampling.max_tokens], len(ids) > sampling.max_tokens))
        longest = max(len(ids) for ids, _ in rows)
        ids_BT = torch.zeros(len(rows), longest, dtype=torch.int64)
        mask_BT = torch.zeros(len(rows), longest, dtype=torch.bool)
        for b, (ids, _) in enumerate(rows):
            ids_BT[b, : len(ids)] = torch.tensor(ids)
            mask_BT[b, : len(ids)] = True
        return RolloutBatch(
            prompts=tuple(prompts),
            group_ids_B=torch.arange(len(prompts)).repeat_interleave(n),
            completion_ids_BT=ids_BT,
            completion_mask_BT=mask_BT,
            rollout_logprobs_BT=torch.zeros(len(rows), longest),
            truncated_B=torch.tensor([cut for _, cut in rows]),
            texts=tuple(self._tokenizer.decode(ids, skip_special_tokens=True) for ids, _ in rows),
            weights_versions_B=torch.full((len(rows),), self._version),
        )
