"""Policies that hold conversations: a chat template, and demonstrations of which the replies are learned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from random import Random

from torch import Tensor
from transformers import PreTrainedTokenizerFast

from morl_playground.sft import IGNORED, padded
from morl_playground.tasks import ConversationTask
from morl_playground.tokenizer import END, build_tokenizer

ROLES = ("system", "user", "assistant", "tool")
# Of a tool its name alone: a policy this small reads no descriptions.
TEMPLATE = (
    "{% if tools %}tools:{% for tool in tools %} {{ tool.function.name }}{% endfor %}\n{% endif %}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}" + END + "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_POOL = 8
_REPLIES = re.compile(rf"(?<=<\|assistant\|>)(.*?{re.escape(END)})", re.DOTALL)


def build_chat_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer with a chat template, whose calls of tools are JSON between `<tool_call>` tags."""
    tokenizer = build_tokenizer(texts)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{role}|>" for role in ROLES]})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def conversations(
    task: ConversationTask, tokenizer: PreTrainedTokenizerFast, batch_size: int, random: Random
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a task's demonstrations, without end; of each, the policy's replies are learned."""
    prompts = task.prompts("train")
    while True:
        rows: list[tuple[list[int], list[int]]] = []
        for prompt in random.choices(prompts, k=_POOL * batch_size):
            said, tools = [*map(dict, task.conversation(prompt, random))], [*map(dict, task.tools)]
            text = tokenizer.apply_chat_template(said, tools=tools, tokenize=False)  # type: ignore[arg-type]
            # Every other part is a reply with its end; none of the parts grows together with the next.
            parts = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in _REPLIES.split(str(text))]
            labels = [part if number % 2 else [IGNORED] * len(part) for number, part in enumerate(parts)]
            rows.append(([*chain(*parts)], [*chain(*labels)]))
        # Conversations of like length go together, to save padding.
        rows.sort(key=lambda row: len(row[0]))
        for start in random.sample(range(0, len(rows), batch_size), _POOL):
            yield padded(rows[start : start + batch_size], tokenizer.pad_token_id)
