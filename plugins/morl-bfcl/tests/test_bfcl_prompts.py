"""The prompts: BFCL's own tasks and words, and the categories that are refused."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from morl.errors import ConfigError, PluginError
from morl_bfcl import package
from morl_bfcl.categories import CATEGORIES, MULTI_TURN
from morl_bfcl.entries import find, load
from morl_bfcl.prompts import CONVERSATION, BFCLPrompts
from morl_bfcl.rewards import BFCLMatchByCategory
from morl_bfcl.wording import more_functions, with_functions


@pytest.mark.parametrize("category", CATEGORIES)
def test_tasks_are_those_of_the_own_loader(bfcl: SimpleNamespace, category: str) -> None:
    expected = bfcl.utils.load_dataset_entry(category)
    entries = load(category)
    assert len(entries) == len(expected)
    for entry, row in zip(entries, expected, strict=True):
        assert (entry.id, entry.turns, entry.functions) == (row["id"], row["question"], row["function"])
        assert {str(turn): docs for turn, docs in entry.withheld.items()} == row.get("missed_function", {})
    assert find(entries[-1].id) is entries[-1]
    if entries[0].answer is not None:
        truth = bfcl.utils.load_ground_truth_entry(category)
        assert [(entry.id, entry.answer) for entry in entries] == [(row["id"], row["ground_truth"]) for row in truth]


def test_the_system_message_is_in_the_own_words(bfcl: SimpleNamespace) -> None:
    asked = ["simple_python_0", "multi_turn_base_0"]
    asked += [entry.id for entry in load("live_simple") if entry.turns[0][0]["role"] == "system"][:1]
    for entry in map(find, asked):
        messages = [dict(message) for message in entry.turns[0]]
        expected = bfcl.text.system_prompt_pre_processing_chat_model(messages, list(entry.functions), entry.id)
        assert with_functions(entry.turns[0], entry.functions) == expected


def test_functions_that_come_later_are_announced_in_the_own_words() -> None:
    docs = find("multi_turn_miss_func_0").withheld[3]
    own = package.texts().DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC
    assert more_functions(docs) == [{"role": "user", "content": f"{docs}\n{own}"}]


def test_columns_and_messages() -> None:
    (system,) = BFCLPrompts("simple_python", limit=1).load()
    assert [message["role"] for message in system.messages] == ["system", "user"]
    assert '"calculate_triangle_area"' in system.messages[0]["content"]
    assert {"id", "category", "functions", "answer", "tools"} == set(system.columns)
    (tools,) = BFCLPrompts("simple_python", functions="tools", limit=1).load()
    assert [message["role"] for message in tools.messages] == ["user"]
    schema = tools.columns["tools"][0]["function"]
    assert schema["parameters"]["type"] == "object"
    assert schema["parameters"]["properties"]["base"]["type"] == "integer"
    (several,) = BFCLPrompts("multi_turn_base", skip=3, limit=1).load()
    assert several.columns == {
        "id": "multi_turn_base_3",
        "category": "multi_turn_base",
        CONVERSATION: {"calls_in": "system"},
    }


def test_skip_and_limit_count_in_each_category() -> None:
    rows = BFCLPrompts(["multiple", "live"], skip=2, limit=3).load()
    assert [row.columns["id"] for row in rows[:4]] == ["multiple_2", "multiple_3", "multiple_4", "live_simple_2-2-0"]
    assert len(rows) == 7 * 3


def test_schemas_have_types_of_json_schema() -> None:
    def types(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(types, value))
        if not isinstance(value, dict):
            return set()
        own = {value["type"]} if isinstance(value.get("type"), str) else set()
        return own.union(*map(types, value.values()))

    tools = [prompt.columns["tools"] for prompt in BFCLPrompts("python", limit=100).load()]
    json.dumps(tools)
    assert types(tools) == {"function", "object", "string", "integer", "number", "boolean", "array"}


@pytest.mark.parametrize(
    ("category", "message"),
    [
        ("simple_pyton", r"no category 'simple_pyton'; did you mean 'simple_python'\?"),
        ("simple_java", "'simple_java' of BFCL is not supported: .*tree_sitter"),
        ("memory_kv", "'memory_kv' .*write files"),
        ("web_search_base", "need the network"),
        ("format_sensitivity", "repeats tasks"),
        (["live", "live_simple"], "each once; got live, live_simple"),
        ([], "at least one category, .*got none"),
    ],
)
def test_categories_that_are_refused(category: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BFCLPrompts(category)


def test_functions_that_come_later_are_no_tools_of_a_template() -> None:
    with pytest.raises(ConfigError, match="cannot be used with multi_turn_miss_func: it adds functions in the middle"):
        BFCLPrompts("multi_turn", functions="tools")


def test_categories_of_several_turns_have_no_match_of_a_single_one() -> None:
    with pytest.raises(ConfigError, match="is for single-turn categories; got multi_turn_base"):
        BFCLMatchByCategory(["simple_python", MULTI_TURN[0]])


def test_a_missing_package_and_another_version_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    package._data.cache_clear()
    monkeypatch.setattr(package, "version", lambda _: "2025.1.1")
    with pytest.raises(PluginError, match=r"bfcl-eval 2025.1.1 may .* 2026.3.23, .*pip install --no-deps bfcl-eval=="):
        BFCLPrompts("multiple")

    def missing(_: str) -> str:
        raise package.PackageNotFoundError

    monkeypatch.setattr(package, "version", missing)
    with pytest.raises(PluginError, match="not installed: pip install --no-deps bfcl-eval"):
        BFCLPrompts("multiple")
    package._data.cache_clear()
