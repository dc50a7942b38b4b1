"""Rows that a policy imitates: prompt and reference answer as token ids, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeAlias

from torch import Tensor
from transformers import PreTrainedTokenizerFast

from morl.errors import DataError
from morl.prompts import encode_prompts
from morl.types import Prompt
from morl_playground.sft import IGNORED, padded

Example: TypeAlias = tuple[list[int], list[int]]
"""Token ids, and the labels to learn of them."""
_POOL = 8


def encode_examples(
    prompts: Sequence[Prompt],
    answers: Sequence[str],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_tokens: int,
    learn_prompts: bool,
) -> list[Example]:
    """The rows of at most `max_tokens` tokens; the prompts as training will read them, each answer with its end.

    Raises:
        DataError: no row is that short.
    """
    examples = []
    for prompt, answer in zip(encode_prompts(prompts, tokenizer), answers, strict=True):
        question = list(prompt.token_ids)
        reply = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        if len(question) + len(reply) <= max_tokens:
            examples.append((question + reply, (question if learn_prompts else [IGNORED] * len(question)) + reply))
    if not examples:
        raise DataError(f"all {len(prompts)} rows to imitate are longer than max_tokens = {max_tokens}; raise it")
    return examples


def shuffled_batches(
    examples: Sequence[Example], batch_size: int, random: Random, pad_token_id: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Input ids and labels, epoch after epoch, without end; rows of like length go together, to save padding."""
    while True:
        order = random.sample(examples, len(examples))
        batches = []
        for start in range(0, len(order), _POOL * batch_size):
            pool = sorted(order[start : start + _POOL * batch_size], key=lambda example: len(example[0]))
            batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
        random.shuffle(batches)
        for batch in batches:
            yield padded(batch, pad_token_id)
