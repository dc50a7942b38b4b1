"""Makes a policy: a small Llama of random weights, initialised by SFT (supervised steps)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from morl_playground.tasks import Task

IGNORED = -100


def sft_initialised(
    config: LlamaConfig,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    schedule: Callable[[int], float] = lambda step: 1.0,
    report: Callable[[int, float, LlamaForCausalLM], None] = lambda step, loss, model: None,
) -> LlamaForCausalLM:
    """A policy that depends on the arguments alone, bit by bit on one machine; torch's global state is left as it was.

    Args:
        config: of the model, see `small_llama`.
        batches: input ids and labels, see `padded`.
        steps: of AdamW, one per batch.
        learning_rate: at its highest.
        seed: of the initial weights.
        schedule: step, counted from 0 -> the part of the learning rate that it gets; default: constant.
        report: called after each step with the number of steps done, the loss, in nats per token, and the model.
    """
    with _reproducible(seed):
        model: LlamaForCausalLM = LlamaForCausalLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        for step, (input_ids_BT, labels_BT) in enumerate(islice(batches, steps), start=1):
            logits_BTV = model(input_ids=input_ids_BT).logits
            loss = cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            report(step, loss.item(), model)
    return model


def rise_and_fall(steps: int) -> Callable[[int], float]:
    """A learning rate that rises over the first tenth of the steps and falls to 0 over the others.

    >>> [round(rise_and_fall(20)(step), 2) for step in (0, 1, 2, 11, 19, 20)]
    [0.5, 1.0, 1.0, 0.5, 0.06, 0.0]
    """
    rise = max(1, steps // 10)
    return lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise))


def small_llama(
    tokenizer: PreTrainedTokenizerFast,
    hidden_size: int,
    layers: int,
    heads: int,
    *,
    positions: int = 256,
    rope_theta: float = 1000.0,
    initializer_range: float = 0.05,
) -> LlamaConfig:
    """A Llama of this size; width 64, 2 layers and 4 heads make about 0.13 million parameters.

    Not a Qwen: for those, `AutoTokenizer` puts a byte-level tokenizer of its own in place of the one in the folder.
    """
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=positions,
        initializer_range=initializer_range,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def demonstrations(
    task: Task, tokenizer: PreTrainedTokenizerFast, batch_size: int, random: Random
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a task's demonstrations, without end; the prompt's tokens are not learned."""
    prompts = task.prompts("train")
    while True:
        rows = []
        for prompt in random.choices(prompts, k=batch_size):
            assert isinstance(prompt.content, str)
            question = tokenizer(prompt.content)["input_ids"]
            answer = tokenizer(task.demonstration(prompt, random) + tokenizer.eos_token)["input_ids"]
            rows.append((question + answer, [IGNORED] * len(question) + answer))
        yield padded(rows, tokenizer.pad_token_id)


def padded(rows: Sequence[tuple[list[int], list[int]]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Input ids and labels of one batch, right-padded."""
    longest = max(len(ids) for ids, _ in rows)
    return (
        torch.tensor([ids + [pad_token_id] * (longest - len(ids)) for ids, _ in rows]),
        torch.tensor([labels + [IGNORED] * (longest - len(labels)) for _, labels in rows]),
    )


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread, because sums split among threads round differently, and a private copy of torch's generator."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
