"""Special tokens in the text that rewards see, ends by token, and what a model's generation config asks for."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from transformers import AutoTokenizer, GenerationConfig

from morl.errors import ConfigError
from morl.rollout.ends import check_stops, end_ids, special_tokens
from morl.rollout.generation_config import report_unused, unused_settings
from morl.rollout.visible import format_tokens, readable_tokenizer, warn_of_hidden
from morl.types import Prompt, Sampling

SPECIAL = ["<think>", "</think>", "<|im_start|>", "<|im_end|>", "<|call|>", "<|other|>", "<lone>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }} {% if m.call %}<|call|>{{ m.call }}{% endif %}{{ m.content }}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant <think>{% endif %}"
)
SAID = "<think>so</think><|call|>f<|other|><|im_end|>"


@pytest.fixture
def tokenizer(tiny_model: Path):
    made = AutoTokenizer.from_pretrained(tiny_model)
    made.add_special_tokens({"extra_special_tokens": SPECIAL})
    made.chat_template = TEMPLATE
    return made


def decoded(tokenizer, text=SAID):
    return tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)


def test_what_the_format_needs_is_kept_and_what_marks_turns_is_not(tokenizer):
    end = special_tokens(tokenizer)["<|im_end|>"]
    assert format_tokens(tokenizer, {end}) == ["<think>", "</think>", "<|call|>"]
    shown = readable_tokenizer(tokenizer, "auto", {end})
    assert decoded(tokenizer) == "sof"
    assert decoded(shown) == "<think>so</think><|call|>f"
    # The same ids, with and without special tokens around, in both directions; and the original is as it was.
    assert shown(SAID)["input_ids"] == tokenizer(SAID)["input_ids"]
    assert shown.decode(shown(SAID)["input_ids"]) == tokenizer.decode(tokenizer(SAID)["input_ids"])
    assert {"<think>", "<|call|>"}.isdisjoint(shown.all_special_tokens)
    assert set(SPECIAL) <= set(tokenizer.all_special_tokens)
    assert (shown.eos_token_id, shown.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_without_a_template_pairs_of_tags_are_kept(tokenizer):
    tokenizer.chat_template = None
    assert format_tokens(tokenizer, ()) == ["<think>", "</think>"]


def test_what_is_kept_is_an_option(tokenizer):
    assert readable_tokenizer(tokenizer, "none", ()) is tokenizer
    assert decoded(readable_tokenizer(tokenizer, ["<|other|>", "<|im_end|>"], ())) == "sof<|other|><|im_end|>"
    with pytest.raises(ConfigError, match=r"keep_special_tokens: '<thnk>' is no special token .*'<think>'"):
        readable_tokenizer(tokenizer, ["<thnk>"], ())


def test_data_and_rewards_that_speak_of_hidden_tokens_are_warned_of(tokenizer, caplog):
    prompts = [Prompt("?", {"answer": "4"}), Prompt("?", {"answer": {"calls": ["<|other|>f()"]}})]
    with caplog.at_level(logging.WARNING):
        warn_of_hidden(tokenizer, prompts[:1], {"form": {"pattern": "<a>"}})
        assert not caplog.text
        warn_of_hidden(tokenizer, prompts, {})
        assert "column 'answer' of row 1 speaks of the special token <|other|>" in caplog.text
        caplog.clear()
        warn_of_hidden(tokenizer, [], {"form": {"pattern": "<think>.*</think>"}})
        assert "reward 'form' speaks of the special token" in caplog.text
        caplog.clear()
        warn_of_hidden(readable_tokenizer(tokenizer, "auto", ()), [], {"form": {"pattern": "<think>.*</think>"}})
    assert not caplog.text


# Ends -----------------------------------------------------------------------------------------------------------------


def test_a_stop_string_that_is_a_special_token_ends_a_completion_as_that_token(tokenizer):
    special = special_tokens(tokenizer)
    sampling = Sampling(stop=("<|im_end|>", "yes"), stop_token_ids=(7,))
    wanted = {tokenizer.eos_token_id, special["<|im_end|>"], 7}
    assert end_ids(tokenizer, GenerationConfig(), sampling) == wanted
    assert end_ids(tokenizer, GenerationConfig(eos_token_id=[3, 5]), sampling) == wanted | {3, 5}
    check_stops(tokenizer, sampling, len(tokenizer))
    # A token that is kept is in the text, where the string is found.
    assert end_ids(readable_tokenizer(tokenizer, ["<|im_end|>"], ()), None, sampling) == wanted - {
        special["<|im_end|>"]
    }


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"stop": ["<|im_end|>\n"]}, r"'<\|im_end\|>\\n' can never match, for '<\|im_end\|>' in it is a special token"),
        ({"stop": ["a<eos>"]}, r"'a<eos>' can never match, .* stop: \['<eos>'\]"),
        ({"stop_token_ids": [9999]}, "there is no token 9999"),
        ({"stop": ["\ud83d"]}, "can never match"),
    ],
)
def test_ends_that_no_completion_can_have_are_refused(tokenizer, sampling, message):
    with pytest.raises(ConfigError, match=message):
        check_stops(tokenizer, Sampling(**sampling), len(tokenizer))


def test_a_stop_string_that_the_tokenizer_writes_otherwise_is_refused(tokenizer):
    from tokenizers import normalizers

    check_stops(tokenizer, Sampling(stop=("END", " x", "\n\n", "é", ". ", "\N{GRINNING FACE}")), len(tokenizer))
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    check_stops(tokenizer, Sampling(stop=("end",)), len(tokenizer))
    with pytest.raises(ConfigError, match="'END' can never match: the tokenizer writes it as 'end'"):
        check_stops(tokenizer, Sampling(stop=("END",)), len(tokenizer))


def test_a_stop_string_that_is_lost_only_where_it_is_read_is_kept(tokenizer):
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    assert tokenizer(" ", add_special_tokens=False)["input_ids"] == []
    check_stops(tokenizer, Sampling(stop=(" ",)), len(tokenizer))


def test_a_special_token_beyond_the_models_vocabulary_never_comes(tokenizer):
    with pytest.raises(ConfigError, match="can never match"):
        check_stops(tokenizer, Sampling(stop=("<|im_end|>",)), special_tokens(tokenizer)["<|im_end|>"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stop": "###"}, ConfigError, "must be a list of texts"),
        ({"stop": [""]}, ConfigError, "none of them empty"),
        ({"stop_token_ids": [-1]}, ValueError, "must be ids of tokens"),
        ({"stop_token_ids": [True]}, ValueError, "must be ids of tokens"),
        ({"min_p": 1.5}, ValueError, "min_p"),
        ({"repetition_penalty": 0.0}, ValueError, "repetition_penalty"),
    ],
)
def test_settings_out_of_their_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Sampling(**options)


# The model's generation config ----------------------------------------------------------------------------------------


def test_what_a_generation_config_asks_for_is_named_once(caplog):
    config = GenerationConfig(
        do_sample=True, temperature=0.7, top_p=0.8, repetition_penalty=1.05, suppress_tokens=[3], bad_words_ids=[[4]],
        forced_eos_token_id=2, eos_token_id=[1, 2], stop_strings=["END"], max_new_tokens=99,
    )  # fmt: skip
    ours = Sampling(temperature=0.7, repetition_penalty=1.05, stop=("END",))
    assert unused_settings(config, ours) == {
        "top_p": 0.8, "suppress_tokens": [3], "bad_words_ids": [[4]], "forced_eos_token_id": 2,
    }  # fmt: skip
    with caplog.at_level(logging.WARNING):
        report_unused(GenerationConfig(eos_token_id=[1, 2]), ours)
        assert not caplog.text
        report_unused(config, ours)
    (record,) = caplog.records
    assert "suppress_tokens=[3]" in record.getMessage()
    assert record.getMessage().endswith("set here: sampling.top_p")
