"""The tool-calling task and its prompt source."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from morl.errors import ConfigError
from morl_playground.prompts import CodePrompts, MathPrompts, TaskPrompts, ToolCallingPrompts
from morl_playground.tasks import SPLITS, TASKS, ConversationTask, find_task
from morl_playground.tokenizer import build_tokenizer
from morl_playground.tool_calling import CLOSE, OPEN, ToolCalling


def parameters(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.removeprefix(OPEN).removesuffix(CLOSE))
    return found


@pytest.mark.parametrize(
    ("source", "sizes"), [(ToolCallingPrompts, (704, 256)), (MathPrompts, (96, 32)), (CodePrompts, (768, 256))]
)
def test_no_prompt_is_in_both_splits(source: type[TaskPrompts], sizes: tuple[int, int]) -> None:
    train, test = (source(split=split).load() for split in SPLITS)
    assert (len(train), len(test)) == sizes
    assert len({prompt.content for prompt in train + test}) == sum(sizes)


def test_the_splits_do_not_depend_on_the_seed_but_the_order_does() -> None:
    orders = [[prompt.content for prompt in ToolCallingPrompts(split="test", seed=seed).load()] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert set(orders[0]) == set(orders[2])


def test_a_part_of_a_split() -> None:
    few = ToolCallingPrompts(size=5, seed=3).load()
    assert len(few) == len({prompt.content for prompt in few}) == 5


def test_parts_of_a_split_can_be_kept_apart() -> None:
    whole = [prompt.content for prompt in MathPrompts(skip=0).load()]
    first, second, rest = (
        [prompt.content for prompt in MathPrompts(skip=skip, size=size).load()]
        for skip, size in ((0, 4), (4, 30), (34, None))
    )
    assert [*first, *second, *rest] == whole
    assert len(set(whole)) == 96
    with pytest.raises(ConfigError, match="skip=90 leaves 6 of the 96 prompts of 'train', and 7 of them are wanted"):
        MathPrompts(skip=90, size=7)
    with pytest.raises(ConfigError, match="skip=96 leaves 0 of the 96 prompts of 'train', and 1 of them are wanted"):
        MathPrompts(skip=96)


@pytest.mark.parametrize("split", SPLITS)
def test_the_reference_answer_is_what_the_prompt_asks_for(split: Any) -> None:
    for prompt in ToolCalling().prompts(split):
        gold = prompt.columns["ground_truth"]
        assert gold.startswith(OPEN)
        assert gold.endswith(CLOSE)
        call = parameters(gold)
        said = str(prompt.content).split()
        assert all(str(word) in said for word in (call["name"], *call["parameters"].values()))


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="split must be one of train, test; got 'dev'"):
        ToolCallingPrompts(split="dev")  # type: ignore[arg-type]


def test_more_prompts_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="size must be at most 256, the prompts that 'test' holds; got 257"):
        ToolCallingPrompts(split="test", size=257)


def test_demonstrations_slip_as_often_as_they_should() -> None:
    task = ToolCalling(formatted=0.15, slips=0.2, formatted_slips=0.8)
    random = Random(0)
    formatted: list[bool] = []
    right: dict[bool, list[bool]] = {True: [], False: []}
    for prompt in [*task.prompts("train")] * 10:
        text = task.demonstration(prompt, random)
        formatted.append(text.startswith(OPEN) and text.endswith(CLOSE))
        right[formatted[-1]].append(parameters(text) == parameters(prompt.columns["ground_truth"]))
    assert sum(formatted) / len(formatted) == pytest.approx(0.15, abs=0.02)
    for in_form, slip in ((False, 0.2), (True, 0.8)):
        # A slip draws the right value again with probability 1/2 (tools), 1/20 (numbers) and 1/6 (words).
        expected = (1 - slip / 2) * (1 - slip * 19 / 20) * (1 - slip * 5 / 6)
        assert sum(right[in_form]) / len(right[in_form]) == pytest.approx(expected, abs=0.03)


def test_the_grader_finds_demonstrations_in_and_out_of_form() -> None:
    grading = pytest.importorskip("morl_toolcall", reason="grades this task, but is not needed to play it")
    task, random = ToolCalling(slips=0.0, formatted_slips=0.0), Random(1)
    formats = []
    for prompt in task.prompts("train"):
        text, gold = task.demonstration(prompt, random), prompt.columns["ground_truth"]
        formats.append(grading.format_score(text, gold, think=False))
        assert grading.correctness(text, gold) == 3.0
    assert sum(formats) / len(formats) == pytest.approx(0.15, abs=0.05)


@pytest.mark.parametrize("name", TASKS)
def test_the_tokenizer_of_a_task_is_lossless_on_it(name: str) -> None:
    task = find_task(name)
    tokenizer = build_tokenizer(task.texts())
    random = Random(0)
    texts = list(task.texts())
    for split in SPLITS:
        for prompt in task.prompts(split):
            if isinstance(task, ConversationTask):  # every message by itself, as a template takes them
                texts += [str(message["content"]) for message in task.conversation(prompt, random)]
            else:
                texts.append(str(prompt.content) + task.demonstration(prompt, random))
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_a_number_is_the_same_token_in_prompt_and_answer() -> None:
    task = ToolCalling()
    tokenizer = build_tokenizer(task.texts())
    prompt = task.prompts("train")[0]
    question, answer = (set(tokenizer(text)["input_ids"]) for text in (prompt.content, prompt.columns["ground_truth"]))
    assert tokenizer.convert_tokens_to_ids(str(prompt.columns["number"])) in question & answer


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown playground task 'tool-caling'; did you mean 'tool-calling'"):
        find_task("tool-caling")


def test_an_unknown_task_option_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task_options of 'tool-calling': .*'slip'"):
        find_task("tool-calling", {"slip": 0.5})
