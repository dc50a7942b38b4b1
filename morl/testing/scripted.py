"""Runs whose replies a test prescribes: a rollout backend that says them, and a tiny model with a chat template.

What an environment answers and scores shows in a run of a second, without a model that has learned to call its tools.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import define, field

from morl.testing.models import tiny_model
from morl.types import EncodedPrompt, RolloutBatch, Sampling

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

Script = Callable[[str, int, int], str]
"""`(context, member, turn)` to a reply.

The context is the text that the policy sees.  `member` tells the completions of a prompt apart in turn 0; later turns
are asked for one conversation at a time, as member 0, and are told apart by their context.
"""

CHAT_TEMPLATE = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}"
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<eos>{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)
"""Of `tiny_chat_model`: roles in angle brackets, and calls as JSON between tags, as Hermes writes them."""


def tool_call(name: str, /, **arguments: Any) -> str:
    """A call of a tool as `CHAT_TEMPLATE` writes it."""
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


@define(eq=False)
class ScriptedReplies:
    """A rollout backend that says what its script says, and then `<eos>`; a reply past `sampling.max_tokens` is cut.

    Its prompts must be rendered by `CHAT_TEMPLATE`, whose headers count the turns.  Log-probabilities are 0, so that a
    run with it shows what is said, answered and scored, not what is learned.

    Args:
        script: what to say.

    Attributes:
        contexts: the token ids of the prompts of every call of `generate`.
        seeds: those of every call.
    """

    script: Script
    contexts: list[list[tuple[int, ...]]] = field(init=False, factory=list)
    seeds: list[list[int]] = field(init=False, factory=list)
    _tokenizer: PreTrainedTokenizerBase = field(init=False)
    _version: int = field(init=False, default=0)

    in_process = False

    def start(self, policy: nn.Module, tokenizer: PreTrainedTokenizerBase, model_path: str) -> None:
        self._tokenizer = tokenizer

    def sync_weights(self, version: int) -> None:
        self._version = version

    def close(self) -> None:
        pass

    def generate(
        self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> RolloutBatch:
        self.contexts.append([tuple(prompt.token_ids) for prompt in prompts])
        self.seeds.append(list(seeds))
        replies = [reply for prompt in prompts for reply in self._replies(prompt, n)]
        rows = [torch.tensor(ids[: sampling.max_tokens]) for ids in replies]
        ids_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        return RolloutBatch(
            prompts=tuple(prompts),
            group_ids_B=torch.arange(len(prompts)).repeat_interleave(n),
            completion_ids_BT=ids_BT.clamp(min=0),
            completion_mask_BT=ids_BT >= 0,
            rollout_logprobs_BT=torch.zeros(ids_BT.shape),
            truncated_B=torch.tensor([len(ids) > sampling.max_tokens for ids in replies]),
            texts=tuple(str(self._tokenizer.decode(ids, skip_special_tokens=True)) for ids in rows),
            weights_versions_B=torch.full((len(rows),), self._version),
        )

    def _replies(self, prompt: EncodedPrompt, n: int) -> list[list[int]]:
        context = str(self._tokenizer.decode(list(prompt.token_ids)))
        turn = context.count("<assistant> ") - 1
        return [self._tokenizer.encode(self.script(context, member, turn) + "<eos>") for member in range(n)]


def tiny_chat_model(folder: Path | str, *, context: int = 2048) -> str:
    """Writes a model of two layers, 16 wide, that reads bytes, with a tokenizer and `CHAT_TEMPLATE`.

    Args:
        folder: where to; it is made.
        context: the longest sequence, in tokens, which are bytes.

    Returns:
        The folder, for `policy.path`.
    """
    tiny_model(
        Path(folder),
        text="",
        vocabulary=258,
        chat_template=CHAT_TEMPLATE,
        hidden_size=16,
        intermediate_size=32,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
    )
    return str(folder)
