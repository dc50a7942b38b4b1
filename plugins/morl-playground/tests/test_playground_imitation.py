"""The policy source for real prompts: tokenizer, rows, what it makes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from morl import train
from morl.errors import ConfigError, DataError, PluginError
from morl.hookspecs import PolicySource
from morl.plugins import Registry
from morl.prompts import encode_prompts
from morl.types import Prompt
from morl_playground import plugin
from morl_playground.bpe import train_bpe
from morl_playground.examples import encode_examples, shuffled_batches
from morl_playground.imitation import ImitationPolicy
from morl_playground.sft import IGNORED

RULE = "Answer with the name of the town, and with nothing else."
TOWNS = ("Oslo", "Lima", "Rom\u00e9", "\u6771\u4eac", "Bern", "Kyiv")


def chat(town: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": RULE}, {"role": "user", "content": f"Where is {town}?\n{{x}}"}]


PROMPTS = [Prompt(chat(town), {"answer": f"In {town}.\n"}) for town in TOWNS]
ANSWERS = [prompt.columns["answer"] for prompt in PROMPTS]


@pytest.fixture
def quick(tmp_path: Path) -> ImitationPolicy:
    return ImitationPolicy(
        source="jsonl",
        source_options={"path": rows_file(tmp_path / "rows.jsonl", PROMPTS)},
        answer="answer",
        vocab_size=512,
        hidden_size=16,
        layers=1,
        heads=2,
        warmup_steps=3,
        warmup_batch_size=2,
        cache=str(tmp_path / "cache"),
    )


def rows_file(path: Path, prompts: list[Prompt]) -> str:
    lines = [json.dumps({"prompt": prompt.content, **prompt.columns}) + "\n" for prompt in prompts]
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def test_the_plugin_offers_it(quick: ImitationPolicy) -> None:
    factory = Registry([plugin], discover=False).find("policy source", "playground-imitation").load()
    assert factory is ImitationPolicy
    assert isinstance(quick, PolicySource)


# The tokenizer -------------------------------------------------------------------------------------------------------

TOKENIZER = train_bpe(PROMPTS, ANSWERS, 512)


@given(st.text())
def test_the_tokenizer_gives_back_any_text_to_the_letter(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


@given(st.lists(st.sampled_from([RULE, *TOWNS, "\n", " "])).map("".join))
def test_and_text_with_shared_lines_in_it(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_a_line_that_most_prompts_share_is_one_token_and_another_is_not() -> None:
    assert len(TOKENIZER(RULE)["input_ids"]) == 1
    assert len(TOKENIZER("Where is Oslo?")["input_ids"]) > 1


def test_chats_are_rendered_up_to_where_the_answer_begins() -> None:
    messages = [*chat("Oslo"), {"role": "assistant", "content": "In Oslo."}, {"role": "user", "content": "And Lima?"}]
    text = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        f"<|system|>\n{RULE}\n<|user|>\nWhere is Oslo?\n{{x}}\n<|assistant|>\nIn Oslo.<|end|>\n"
        "<|user|>\nAnd Lima?\n<|assistant|>\n"
    )
    ids = TOKENIZER(text)["input_ids"]
    assert [ids.count(TOKENIZER.convert_tokens_to_ids(token)) for token in ("<|user|>", "<|end|>")] == [2, 1]


# The rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learn_prompts", [True, False])
def test_rows_begin_as_training_will_read_the_prompt_and_end_with_the_end(learn_prompts: bool) -> None:
    examples = encode_examples(PROMPTS, ANSWERS, TOKENIZER, max_tokens=4096, learn_prompts=learn_prompts)
    for (ids, labels), prompt, answer in zip(examples, encode_prompts(PROMPTS, TOKENIZER), ANSWERS, strict=True):
        size = len(prompt.token_ids)
        assert tuple(ids[:size]) == prompt.token_ids
        assert TOKENIZER.decode(ids[size:]) == answer + "<|end|>"
        assert labels[size:] == ids[size:]
        assert labels[:size] == (ids[:size] if learn_prompts else [IGNORED] * size)


def test_rows_that_are_too_long_are_left_out() -> None:
    lengths = [len(ids) for ids, _ in encode_examples(PROMPTS, ANSWERS, TOKENIZER, max_tokens=4096, learn_prompts=True)]
    limit = sorted(lengths)[3]
    kept = encode_examples(PROMPTS, ANSWERS, TOKENIZER, max_tokens=limit, learn_prompts=True)
    assert [len(ids) for ids, _ in kept] == [length for length in lengths if length <= limit]
    with pytest.raises(DataError, match="all 6 rows to imitate are longer than max_tokens = 3; raise it"):
        encode_examples(PROMPTS, ANSWERS, TOKENIZER, max_tokens=3, learn_prompts=True)


def test_every_epoch_has_every_row_once_in_an_order_of_its_own() -> None:
    examples = [([row] * (1 + row % 3), [row] * (1 + row % 3)) for row in range(10)]
    batches = shuffled_batches(examples, 4, Random(0), pad_token_id=99)
    epochs = [[row for _ in range(3) for row in next(batches)[0][:, 0].tolist()] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


def test_padding_is_not_learned() -> None:
    ids, labels = next(shuffled_batches([([5], [5]), ([6, 7], [6, 7])], 2, Random(0), pad_token_id=99))
    assert sorted(ids.tolist()) == [[5, 99], [6, 7]]
    assert sorted(labels.tolist()) == [[5, IGNORED], [6, 7]]


# The policy ----------------------------------------------------------------------------------------------------------


def test_plain_transformers_loads_the_folder(quick: ImitationPolicy) -> None:
    folder = quick.resolve()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.eos_token_id == model.config.eos_token_id != tokenizer.pad_token_id
    text = tokenizer.apply_chat_template(chat("Lima"), tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|assistant|>\n")
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer(RULE)["input_ids"]) == 1


def test_the_same_rows_and_options_make_the_same_policy_and_any_other_another(
    quick: ImitationPolicy, tmp_path: Path
) -> None:
    first = weights(quick.resolve())
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = weights(attrs.evolve(quick, cache=str(tmp_path / "elsewhere")).resolve())
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    options = quick.source_options
    copied = attrs.evolve(quick, source_options={"path": rows_file(tmp_path / "copy.jsonl", PROMPTS)})
    assert copied.resolve() == quick.resolve()  # it is the rows that count, not where they are
    others = [
        attrs.evolve(quick, **change)
        for change in (
            {"seed": 1},
            {"vocab_size": 520},
            {"hidden_size": 32},
            {"layers": 2},
            {"heads": 1},
            {"max_tokens": 100},
            {"warmup_steps": 4},
            {"warmup_batch_size": 3},
            {"warmup_learning_rate": 1.0},
            {"learn_prompts": False},
            {"source_options": {**options, "limit": 5}},
        )
    ]
    assert len({policy.resolve() for policy in (quick, *others)}) == 1 + len(others)


def test_a_policy_that_was_made_is_found_again(quick: ImitationPolicy) -> None:
    folder = Path(quick.resolve())
    made = folder.stat().st_mtime_ns
    assert quick.resolve() == str(folder)
    assert folder.stat().st_mtime_ns == made
    assert [path for path in folder.parent.iterdir() if path.suffix != ".lock"] == [folder]


def test_it_learns_its_rows_by_heart(quick: ImitationPolicy) -> None:
    losses: dict[int, float] = {}
    diligent = attrs.evolve(quick, hidden_size=32, warmup_steps=80, warmup_batch_size=6, warmup_learning_rate=0.02)
    diligent.imitate(*diligent.rows(), report=lambda step, loss, _: losses.update({step: loss}))
    assert losses[80] < 1 < 4 < losses[1]


def test_plain_text_prompts_are_imitated_as_they_are(quick: ImitationPolicy, tmp_path: Path) -> None:
    plain = [Prompt(f"{town} is in", {"answer": " the world"}) for town in TOWNS]
    source = {"path": rows_file(tmp_path / "plain.jsonl", plain)}
    tokenizer = AutoTokenizer.from_pretrained(attrs.evolve(quick, source_options=source).resolve())
    assert tokenizer.decode(tokenizer("Oslo is in")["input_ids"]) == "Oslo is in"


def test_morl_trains_it(quick: ImitationPolicy, tmp_path: Path) -> None:
    options = attrs.asdict(quick)
    config: dict[str, Any] = {
        "output": str(tmp_path / "run"),
        "policy": {"name": "playground-imitation", **options},
        "prompts": {"path": quick.source_options["path"]},
        "rewards": {"brief": {"name": "length", "limit": 2}, "said": {"name": "regex", "pattern": "[a-z]"}},
        "sampling": {"max_tokens": 4},
        "training": {"steps": 1, "prompts_per_step": 2, "group_size": 2},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }
    assert train(config).folder.is_dir()


# What is refused -----------------------------------------------------------------------------------------------------


def test_an_unknown_source_is_refused_at_once() -> None:
    with pytest.raises(PluginError, match="unknown prompt source 'jsonlines'"):
        ImitationPolicy(source="jsonlines")


def test_an_option_that_the_source_does_not_have_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"source_options of 'jsonl': .*'file'"):
        ImitationPolicy(source="jsonl", source_options={"file": "x"})


def test_a_width_that_the_heads_cannot_share_is_refused(quick: ImitationPolicy) -> None:
    with pytest.raises(ConfigError, match=r"hidden_size must be a multiple of 2 \* heads = 4; got 18"):
        attrs.evolve(quick, hidden_size=18)


def test_rows_without_answers_are_refused(quick: ImitationPolicy) -> None:
    with pytest.raises(DataError, match=r"in the column 'anser'; did you mean 'answer'\?; row 0 of 'jsonl'"):
        attrs.evolve(quick, answer="anser").resolve()


def test_a_source_without_rows_is_refused(quick: ImitationPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morl.prompts.jsonl.JsonLines.load", lambda source: ())
    with pytest.raises(DataError, match="the prompt source 'jsonl' has no rows to imitate"):
        quick.resolve()
