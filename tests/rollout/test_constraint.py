"""Completions within a regular expression, a JSON schema or a grammar."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from morl.errors import ConfigError
from morl.policy.load import load_policy
from morl.rollout.constraint import Constraint, constraint_of
from morl.rollout.transformers import TransformersBackend
from morl.types import EncodedPrompt, Prompt, Sampling

pytest.importorskip("llguidance", reason="llguidance is not installed: pip install 'morl-llm[structured]'")

PROMPTS = [EncodedPrompt(Prompt(""), "", ids, row) for row, ids in enumerate([(40, 41, 41, 60), (70,), (90, 91)])]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", "yz"]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
DATE = "[0-9]{1,3}-(jan|feb)( or [0-9]{1,2}-(jan|feb))?"
LARK = 'start: "<" WORD ("," WORD)~0..2 ">"\nWORD: /[ab]{1,3}/'


@pytest.fixture(scope="module")
def started(tiny_model: Path):
    policy = load_policy(str(tiny_model))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    backend = TransformersBackend(max_rows=7)
    backend.start(policy, tokenizer, str(tiny_model))
    backend.sync_weights(0)
    return backend, tokenizer


def is_of_schema(text):
    found = json.loads(text)
    return set(found) == {"a", "b"} and isinstance(found["a"], bool) and found["b"] in ("x", "yz")


LANGUAGES = {
    "regex": (Sampling(regex=DATE), lambda text: re.fullmatch(DATE, text)),
    "json_schema": (Sampling(json_schema=SCHEMA), is_of_schema),
    "grammar": (Sampling(grammar=LARK), lambda text: re.fullmatch(r"<[ab]{1,3}(,[ab]{1,3}){0,2}>", text)),
    "with everything": (
        Sampling(regex=DATE, temperature=0.7, top_p=0.9, repetition_penalty=1.2),
        lambda text: re.fullmatch(DATE, text),
    ),
    "greedy": (Sampling(regex=DATE, temperature=0.0), lambda text: re.fullmatch(DATE, text)),
}


@pytest.mark.parametrize("name", LANGUAGES)
def test_completions_are_of_the_language_and_log_probabilities_of_the_policy(name, started, tiny_model):
    """What ended is a whole text of it, and an untrained policy says it with the probabilities that it has."""
    backend, _ = started
    sampling, matches = LANGUAGES[name]
    batch = backend.generate(PROMPTS, 8, sampling, [3, 4, 5])
    assert not batch.truncated_B.any()
    assert all(matches(text) for text in batch.texts), batch.texts
    if sampling.temperature:
        assert len(set(batch.texts)) > 1
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    for row, completion in enumerate(batch.completions()):
        prompt = PROMPTS[int(batch.group_ids_B[row])].token_ids
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *completion.token_ids]])).logits[0, len(prompt) - 1 : -1]
        table = (logits / (sampling.temperature or 1.0)).log_softmax(-1)
        expected = table.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        found = batch.rollout_logprobs_BT[row][batch.completion_mask_BT[row]]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_each_text_is_drawn_with_the_share_that_the_policy_gives_it(started, tiny_model):
    """Of one token, whose probabilities are the policy's among those that are allowed."""
    backend, tokenizer = started
    batch = backend.generate(PROMPTS[:1], 2000, Sampling(regex="[abc]"), [8])
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPTS[0].token_ids])).logits[0, -1]
    ids = [tokenizer.convert_tokens_to_ids(letter) for letter in "abc"]
    shares = logits[ids].softmax(0)
    for letter, share in zip("abc", shares.tolist(), strict=True):
        found = sum(text == letter for text in batch.texts) / 2000
        assert abs(found - share) < 4 * (share * (1 - share) / 2000) ** 0.5


def test_a_row_is_the_same_whatever_it_is_drawn_with(started):
    backend, _ = started
    sampling = Sampling(json_schema=SCHEMA)
    whole = backend.generate(PROMPTS, 6, sampling, [3, 4, 5])
    alone = backend.generate(PROMPTS[1:2], 2, sampling, [4])
    assert whole.texts[6:8] == alone.texts


def test_what_the_limit_cuts_is_the_beginning_of_a_text(started):
    backend, _ = started
    batch = backend.generate(PROMPTS, 3, Sampling(grammar=LARK, max_tokens=1), [3, 4, 5])
    assert batch.truncated_B.all()
    assert all(text.startswith("<") for text in batch.texts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regex": "(a"}, "sampling.regex: "),
        ({"json_schema": {"type": "objekt"}}, "sampling.json_schema: "),
        ({"json_schema": "{"}, "sampling.json_schema: "),
        ({"grammar": "start: x"}, "sampling.grammar: "),
    ],
)
def test_a_mistake_in_the_language_is_refused(settings, message, started):
    with pytest.raises(ConfigError, match=message):
        constraint_of(Sampling(**settings), started[1], None)


def test_a_tokenizer_of_whole_characters_is_refused():
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.WordLevel({"<eos>": 0, "a": 1}, unk_token="<eos>"))
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")
    with pytest.raises(ConfigError, match=r"sampling\.regex: llguidance needs a tokenizer of bytes"):
        constraint_of(Sampling(regex="a"), fast, None)


def test_a_special_token_may_end_a_text_and_other_stops_may_not(tiny_model):
    """What is text belongs to the language, and ends a completion only where the sampling of tokens looks for it."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    end, text = tokenizer.convert_tokens_to_ids("<|end|>"), tokenizer("a", add_special_tokens=False)["input_ids"][0]
    tokenizer.eos_token = None
    constraint = constraint_of(Sampling(regex="a|aa", stop_token_ids=(end, text)), tokenizer, None)
    assert constraint is not None
    allowed = constraint.begin(1)
    assert allowed.next(len(tokenizer), torch.device("cpu"))[0].nonzero().flatten().tolist() == [text]
    allowed.add(torch.tensor([text]))
    assert set(allowed.next(len(tokenizer), torch.device("cpu"))[0].nonzero().flatten().tolist()) == {text, end}
    with pytest.raises(ConfigError, match=r"sampling\.regex: the tokenizer has no end-of-sequence token"):
        constraint_of(Sampling(regex="a", stop_token_ids=(text,)), tokenizer, None)


def test_a_model_may_have_fewer_rows_of_embedding_than_its_tokenizer_has_tokens_or_more(started):
    _, tokenizer = started
    constraint = constraint_of(Sampling(regex="a"), tokenizer, None)
    assert constraint is not None
    (token,) = tokenizer("a", add_special_tokens=False)["input_ids"]
    for vocabulary in (token + 1, len(tokenizer), len(tokenizer) + 100):
        allowed = constraint.begin(2).next(vocabulary, torch.device("cpu"))
        assert allowed.shape == (2, vocabulary)
        assert allowed.nonzero().tolist() == [[0, token], [1, token]]


def test_two_languages_are_one_too_many():
    with pytest.raises(ConfigError, match=r"sampling\.regex and sampling\.grammar: completions follow one of them"):
        Sampling(regex="a", grammar=LARK)


def test_a_schema_may_be_text():
    assert Sampling(json_schema=SCHEMA) == Sampling(json_schema=json.dumps(SCHEMA, sort_keys=True))


def test_without_llguidance_it_says_what_to_install(started, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"sampling\.regex needs llguidance: pip install 'morl-llm\[structured\]'"):
        Constraint(Sampling(regex="a"), started[1])
