"""The backend `transformers` under settings that `generate` of transformers has, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from attrs import evolve
from transformers import AutoTokenizer

from morl.policy.load import load_policy
from morl.rollout.transformers import TransformersBackend
from morl.types import EncodedPrompt, Prompt, Sampling

PROMPTS = [EncodedPrompt(Prompt(""), "", ids, row) for row, ids in enumerate([(40, 41, 41, 60), (70,), (90, 91)])]


@pytest.fixture(scope="module")
def started(tiny_model: Path):
    policy = load_policy(str(tiny_model))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    backend = TransformersBackend(max_rows=2)
    backend.start(policy, tokenizer, str(tiny_model))
    backend.sync_weights(0)
    return backend, tokenizer


@pytest.mark.parametrize("penalty", [1.0, 1.5, 0.8])
def test_greedy_completions_with_a_repetition_penalty_are_those_of_generate(started, tiny_model, penalty):
    backend, _ = started
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    batch = backend.generate(
        PROMPTS, 1, Sampling(temperature=0.0, max_tokens=12, repetition_penalty=penalty), [0, 1, 2]
    )
    for prompt, completion in zip(PROMPTS, batch.completions(), strict=True):
        ids = torch.tensor([prompt.token_ids])
        options = {"do_sample": False, "max_new_tokens": 12, "repetition_penalty": penalty}
        wanted = model.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, ids.shape[1] :].tolist()
        assert list(completion.token_ids) == wanted


def test_tokens_end_a_completion_and_stay_in_it(started):
    backend, _ = started
    free = backend.generate(PROMPTS, 2, Sampling(max_tokens=10), [0, 1, 2])
    stop = free.completions()[0].token_ids[3]
    cut = backend.generate(PROMPTS, 2, Sampling(max_tokens=10, stop_token_ids=(stop,)), [0, 1, 2])
    for long, short in zip(free.completions(), cut.completions(), strict=True):
        ids = list(long.token_ids)
        ended = stop in ids
        assert list(short.token_ids) == (ids[: ids.index(stop) + 1] if ended else ids)
        assert short.truncated == (long.truncated and not ended)


def test_a_stop_string_that_is_a_special_token_ends_a_completion(started):
    backend, tokenizer = started
    by_text = Sampling(max_tokens=60, temperature=50.0, stop=("<pad>",))
    by_id = evolve(by_text, stop=(), stop_token_ids=(tokenizer.pad_token_id,))
    one, other = (backend.generate(PROMPTS, 8, sampling, [5, 6, 7]) for sampling in (by_text, by_id))
    rows = [each.token_ids for each in one.completions()]
    assert rows == [each.token_ids for each in other.completions()]
    assert any(row[-1] == tokenizer.pad_token_id for row in rows)
    assert not any(tokenizer.pad_token_id in row[:-1] for row in rows)


def test_min_p_1_is_greedy(started):
    backend, _ = started
    greedy = backend.generate(PROMPTS, 1, Sampling(temperature=0.0, max_tokens=8), [0, 1, 2])
    strict = backend.generate(PROMPTS, 1, Sampling(min_p=1.0, max_tokens=8), [4, 5, 6])
    assert [each.token_ids for each in strict.completions()] == [each.token_ids for each in greedy.completions()]
