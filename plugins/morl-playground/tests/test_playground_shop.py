"""The task `shop`: its tools, demonstrations, environment and rewards, and a short training with all of them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from transformers import AutoTokenizer

import morl
from morl.errors import ConfigError
from morl.testing import check_environment
from morl.types import Completion, CompletionStatus, Prompt
from morl_playground.calls_reward import CallsReward
from morl_playground.chat import build_chat_tokenizer, conversations
from morl_playground.policy import PlaygroundPolicy
from morl_playground.prompts import ShopPrompts
from morl_playground.sft import IGNORED
from morl_playground.shop import Shop, answered, total, written
from morl_playground.shop_environment import ShopEnvironment
from morl_playground.tasks import SPLITS, ConversationTask

CLEAN = Shop(slips=0, repeats=0, adds=1, guesses=0)


def said(task: Shop, prompt: Prompt, seed: int) -> list[dict[str, Any]]:
    return [dict(message) for message in task.conversation(prompt, Random(seed))]


def reply(content: str, *calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    called = [
        {"type": "function", "id": f"call{number}", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": content} | ({"tool_calls": called} if called else {})


def test_prompts() -> None:
    train, test = (ShopPrompts(split=split).load() for split in SPLITS)
    assert (len(train), len(test)) == (656, 64)
    assert len({json.dumps([prompt.content, prompt.columns]) for prompt in train + test}) == 720
    for prompt in test:
        first, second = prompt.columns["items"]
        assert prompt.content == [{"role": "user", "content": f"{first} and {second}"}]
        assert prompt.columns["total"] == prompt.columns["prices"][first] + prompt.columns["prices"][second]


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("price", {"item": "figs"}, "3"),
        ("price", {"item": "tea"}, "Error: no such item"),
        ("price", {"item": 3}, "Error: wrong arguments"),
        ("price", {"item": "figs", "x": 1}, "Error: wrong arguments"),
        ("add", {"a": 3, "b": 4}, "7"),
        ("add", {"a": "3", "b": 4}, "Error: wrong arguments"),
        ("cost", {"item": "figs"}, "Error: no such tool"),
    ],
)
def test_tools(name: str, arguments: dict[str, Any], says: str) -> None:
    assert answered(name, arguments, {"figs": 3}) == says


def test_a_clean_demonstration_looks_up_adds_and_says_the_total() -> None:
    (prompt,) = ShopPrompts(size=1).load()
    a, b = prompt.columns["items"]
    prices = prompt.columns["prices"]
    looks = "".join(written({"name": "price", "arguments": {"item": item}}) for item in (a, b))
    assert said(CLEAN, prompt, 0)[1:] == [
        {"role": "assistant", "content": looks},
        {"role": "tool", "content": str(prices[a])},
        {"role": "tool", "content": str(prices[b])},
        {
            "role": "assistant",
            "content": written({"name": "add", "arguments": {"a": prices[a], "b": prices[b]}}),
        },
        {"role": "tool", "content": str(prompt.columns["total"])},
        {"role": "assistant", "content": total(prompt.columns["total"])},
    ]


def test_demonstrations_are_careless() -> None:
    prompts = ShopPrompts(size=200).load()
    talks = [said(Shop(), prompt, row) for row, prompt in enumerate(prompts)]
    right = sum(talk[-1]["content"] == total(p.columns["total"]) for talk, p in zip(talks, prompts, strict=True))
    failed = sum(message["content"].startswith("Error") for talk in talks for message in talk)
    assert 140 < right < 195
    assert failed > 40
    assert all(talk[-1]["content"].startswith("total ") for talk in talks)


def test_the_tokenizer_knows_all_that_is_demonstrated_and_only_replies_are_learned() -> None:
    task = Shop()
    assert isinstance(task, ConversationTask)
    tokenizer = build_chat_tokenizer(task.texts())
    ids_BT, labels_BT = next(conversations(task, tokenizer, 64, Random(0)))
    assert tokenizer.unk_token_id not in ids_BT
    for ids, labels in zip(ids_BT.tolist(), labels_BT.tolist(), strict=True):
        text = tokenizer.decode([token for token in ids if token != tokenizer.pad_token_id])
        learned = tokenizer.decode([token for token in labels if token != IGNORED])
        replies = [part.partition("<|end|>")[0] + "<|end|>" for part in text.split("<|assistant|>")[1:]]
        assert learned == "".join(replies)


def customer(messages: Any) -> dict[str, Any]:
    """Looks one thing up twice and one that there is not, then adds."""
    told = [message["content"] for message in messages if message["role"] == "tool"]
    first, _, second = messages[0]["content"].split()
    if len(told) < 3:
        return reply("", ("price", {"item": first}), ("price", {"item": "tea"}), ("price", {"item": second}))
    if len(told) == 3:
        return reply("", ("add", {"a": int(told[0]), "b": int(told[2])}))
    return reply(total(int(told[3])))


def test_the_environment_keeps_the_contract() -> None:
    check_environment(ShopEnvironment, ShopPrompts(size=3).load(), customer)


def test_its_reward() -> None:
    (prompt,) = ShopPrompts(size=1).load()
    right = prompt.columns["total"]
    for text, score in ((total(right), 1.0), (f" total {right}\n", 1.0), (total(right + 1), 0.0), (f"{right}", 0.0)):
        episode = ShopEnvironment().open(prompt, 0)
        answer = episode.step(reply(text))
        assert (answer.done, answer.rewards) == (True, {"right": score})
        assert episode.finish(CompletionStatus.COMPLETED) == {}
    assert ShopEnvironment().open(prompt, 0).finish(CompletionStatus.TURN_LIMIT) == {"right": 0.0}


def test_the_rewards_of_calls() -> None:
    figures = [{"tool_calls": calls, "failed_calls": failed} for calls, failed in ((3, 0), (4, 1), (12, 6), (0, 0))]
    completions = [Completion(Prompt(""), "", (1,), info={"conversation": each}) for each in figures]
    assert CallsReward(limit=8).score([*completions, Completion(Prompt(""), "", (1,))]) == {
        "valid": [1.0, 0.75, 0.5, None, None],
        "few": [0.625, 0.5, 0.0, 1.0, 1.0],
    }
    with pytest.raises(ValueError, match="'limit' must be >= 1"):
        CallsReward(limit=0)


def test_options_of_the_task_are_probabilities() -> None:
    with pytest.raises(ValueError, match="'slips' must be <= 1"):
        Shop(slips=2)
    with pytest.raises(ConfigError, match="task_options of 'shop'"):
        PlaygroundPolicy(task="shop", task_options={"slip": 0.1})


def test_a_short_training_holds_conversations(tmp_path: Path) -> None:
    policy = PlaygroundPolicy(
        task="shop", warmup_steps=30, warmup_batch_size=8, hidden_size=32, cache=str(tmp_path / "cache")
    )
    assert "tools: price add" in AutoTokenizer.from_pretrained(policy.resolve()).apply_chat_template(
        [{"role": "user", "content": "figs"}], tools=[dict(tool) for tool in Shop.tools], tokenize=False
    )
    result = morl.train(
        {
            "output": str(tmp_path / "run"),
            "policy": {"path": policy.resolve()},
            "prompts": {"name": "playground-shop"},
            "environment": {"name": "playground-shop", "max_turns": 3},
            "rewards": {"calls": {"name": "playground-calls"}},
            "sampling": {"max_tokens": 40},
            "training": {"steps": 2, "prompts_per_step": 4, "group_size": 2, "samples_every": 1},
            "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
        }
    )
    rows = [
        json.loads(line)
        for path in sorted((result.folder / "samples").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert rows
    assert {"right", "valid", "few"} == set(rows[0]["rewards"])
    assert any(len(row["turns"]) > 1 for row in rows), "it calls tools, and goes on"
