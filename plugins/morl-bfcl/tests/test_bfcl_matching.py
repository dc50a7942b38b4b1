"""Calls against reference answers: the verdict is that of BFCL's own checker, whatever the calls are."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from morl.errors import DataError
from morl.types import Completion, Prompt
from morl_bfcl.calls import Call
from morl_bfcl.categories import SINGLE_TURN
from morl_bfcl.entries import Entry, load
from morl_bfcl.matching import calls_fit
from morl_bfcl.prompts import BFCLPrompts
from morl_bfcl.rewards import BFCLFormat, BFCLMatch, BFCLMatchByCategory

ANSWERED = [name for name in SINGLE_TURN if "relevance" not in name]


def ours(entry: Entry, calls: Sequence[Call]) -> bool:
    assert entry.answer is not None
    return calls_fit(entry.category, entry.functions, calls, entry.answer)


def theirs(bfcl: SimpleNamespace, entry: Entry, calls: Sequence[Call]) -> bool:
    """What their checker cannot compare, and raises on, is no match."""
    written = [{call.name: dict(call.arguments)} for call in calls]
    try:
        verdict = bfcl.ast.ast_checker(
            list(entry.functions), written, entry.answer, bfcl.python, entry.category, "any model"
        )
    except (AttributeError, KeyError, TypeError, OverflowError):
        return False
    return bool(verdict["valid"])


def gold(entry: Entry, draw: random.Random | None = None) -> list[Call]:
    """The calls of a reference answer: the first of the allowed values, or any."""
    assert entry.answer is not None
    found = []
    for answer in entry.answer:
        ((name, parameters),) = answer.items()
        found.append(
            Call(name, {key: _chosen(values, draw) for key, values in parameters.items() if values[:1] != [""]})
        )
    return found


def _chosen(values: Sequence[Any], draw: random.Random | None) -> Any:
    possible = [value for value in values if value != ""] or ["none"]
    value = copy.deepcopy(draw.choice(possible) if draw else possible[0])
    if isinstance(value, dict):
        return _plain(value)
    return [_plain(item) if isinstance(item, dict) else item for item in value] if isinstance(value, list) else value


def _plain(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: values[0] if isinstance(values, list) and values else values
        for key, values in mapping.items()
        if values and values[0] != ""
    }


@pytest.mark.parametrize("category", ANSWERED)
def test_reference_answers(bfcl: SimpleNamespace, category: str) -> None:
    verdicts = [ours(entry, gold(entry)) for entry in load(category)]
    assert verdicts == [theirs(bfcl, entry, gold(entry)) for entry in load(category)]
    assert sum(verdicts) >= 0.99 * len(verdicts)  # the rest: the first of the allowed values is not always one


Change = Callable[[random.Random, dict[str, Any], str], None]


def _replace(value: Any) -> Change:
    def change(_: random.Random, arguments: dict[str, Any], name: str) -> None:
        arguments[name] = value

    return change


def _map(function: Callable[[Any], Any]) -> Change:
    def change(_: random.Random, arguments: dict[str, Any], name: str) -> None:
        arguments[name] = function(arguments[name])

    return change


def _within(draw: random.Random, arguments: dict[str, Any], name: str) -> None:
    """Something inside of a list or mapping; of other values, an item is made of it."""
    value = arguments[name]
    if isinstance(value, dict) and value:
        key = draw.choice(sorted(value))
        if draw.random() < 0.5:
            del value[key]
        else:
            value[key] = draw.choice([str(value[key]).upper(), 1, [value[key]], "other"])
    elif isinstance(value, list) and value:
        value[draw.randrange(len(value))] = draw.choice([True, "other", 7, 7.5, {"a": 1}, str(value[0]).upper()])
        draw.shuffle(value)
    else:
        arguments[name] = [value]


def _another(draw: random.Random, arguments: dict[str, Any], name: str) -> None:
    arguments[draw.choice([name + "s", "x", name.upper()])] = arguments.pop(name)


def _without(_: random.Random, arguments: dict[str, Any], name: str) -> None:
    del arguments[name]


CHANGES: Sequence[Change] = (
    _without,
    _another,
    _within,
    _within,
    _map(lambda value: value.swapcase() + " .,-" if isinstance(value, str) else value),
    _map(lambda value: value + 1 if type(value) in (int, float) else value),
    _map(lambda value: float(value) if type(value) is int else value),
    _map(lambda value: int(value) if type(value) is float else bool(value)),
    _map(lambda value: tuple(value) if isinstance(value, list) else (value,)),
    _map(str),
    _replace(True),
    _replace(""),
    _replace([]),
    _replace({}),
    _replace(None),
    _replace("some_variable"),
)


def perturbed(draw: random.Random, entry: Entry) -> list[Call]:
    """The reference answer after one change, to an argument or to the list of calls."""
    calls = gold(entry, draw)
    where = draw.randrange(len(calls))
    kind = draw.random()
    if kind < 0.1:
        return [*calls[:where], *calls[where + 1 :]]
    if kind < 0.15:
        return [*calls, calls[where]]
    if kind < 0.25:
        draw.shuffle(calls)
        return calls
    if kind < 0.3 or not calls[where].arguments:
        return [*calls[:where], Call(calls[where].name + "_", calls[where].arguments), *calls[where + 1 :]]
    arguments = dict(calls[where].arguments)
    draw.choice(CHANGES)(draw, arguments, draw.choice(sorted(arguments)))
    return [*calls[:where], Call(calls[where].name, arguments), *calls[where + 1 :]]


def test_perturbed_answers(bfcl: SimpleNamespace) -> None:
    draw = random.Random(0)
    entries = {category: load(category) for category in ANSWERED}
    verdicts = []
    for _ in range(4000):
        entry = draw.choice(entries[draw.choice(ANSWERED)])
        calls = perturbed(draw, entry)
        verdicts.append(ours(entry, calls))
        assert verdicts[-1] == theirs(bfcl, entry, calls), (entry.id, calls, entry.answer)
    assert 0.2 < sum(verdicts) / len(verdicts) < 0.6


VALUES: Sequence[Any] = (
    *("a", "A, b.", "ab", "", "'x'", '"X"', "1", "v"),
    *(1, 2, 1.0, 1.5, 10**400, -1, True, False, None, b"a"),
    *([], ["a"], ["A."], ["a", "b"], ["b", "a"], [1], [1.0], [True], [["a"]], [1, "a"], ("a",), (1, 2), [1, 2], ()),
    *({}, {"k": "a"}, {"k": "A."}, {"k": 1}, {"k": ["a"]}, {"k": "a", "l": 1}, {"m": 1}, {"l": 1}),
    *([{"k": "a"}], [{"k": "A"}, {"k": "b"}], [{}], [{"k": "a"}, 1]),
)
ALLOWED: Sequence[Sequence[Any]] = (
    *([], [""], ["a"], ["A b", "v"], ["", "a"], ["v"], ["1"], ["'X'"]),
    *([1], [1, ""], [1.0], [1.5, 1], [True], [-1, 2]),
    *([[]], [["a"]], [["a", "b"]], [["a"], ""], ["", ["A"]], [[1, 2]], [[1.0]], [["v"], "ab"], [[["a"]]], ["v", ["a"]]),
    *([{"k": ["a"]}], [{"k": ["a", ""], "l": [1]}], [{"k": ["a"]}, ""], [{"k": [["a"]]}], [{"k": "ab"}], [{}]),
    *([[{"k": ["a"]}]], [[{"k": ["a"]}, {"k": ["b"]}]], [[{"k": ["a"]}], ""], [[{"k": [1, ""]}]]),
)
DOCS: Sequence[dict[str, Any]] = (
    *({"type": name} for name in ("string", "integer", "float", "boolean", "dict", "any")),
    *(
        {"type": "array", "items": {"type": name}}
        for name in ("string", "integer", "float", "dict", "array", "boolean")
    ),
    *({"type": "tuple", "items": {"type": name}} for name in ("string", "integer")),
)


@pytest.mark.parametrize("doc", DOCS, ids=str)
def test_every_kind_of_value(bfcl: SimpleNamespace, doc: dict[str, Any]) -> None:
    """Each value against each list of allowed ones."""
    for allowed in ALLOWED:
        function = {"name": "f", "parameters": {"properties": {"x": doc}, "required": []}}
        entry = Entry("0", "simple_python", [], [function], [{"f": {"x": allowed}}])
        for value in VALUES:
            calls = [Call("f", {"x": value})]
            assert ours(entry, calls) == theirs(bfcl, entry, calls), (allowed, value)


def test_parameters_that_are_known_to_one_side_only(bfcl: SimpleNamespace) -> None:
    documented = {"x": {"type": "integer"}, "y": {"type": "integer"}, "z": {"type": "integer"}}
    function = {"name": "f", "parameters": {"properties": documented, "required": ["x"]}}
    entry = Entry("0", "simple_python", [], [function], [{"f": {"x": [1], "y": ["", 1], "w": ["", 1]}}])
    right = [{"x": 1}, {"x": 1, "y": 1}]
    wrong = [{"x": 1, "z": 1}, {"x": 1, "w": 1}, {"x": 1, "v": 1}, {"y": 1}, {}, {None: 1, "x": 1}]
    for arguments in right + wrong:
        calls = [Call("f", arguments)]
        assert ours(entry, calls) == theirs(bfcl, entry, calls) == (arguments in right)


def completion(prompt: Prompt, text: str) -> Completion:
    return Completion(prompt, text, ())


def test_scores_of_each_category() -> None:
    one, several, none, some = (
        BFCLPrompts(category, limit=1).load()[0]
        for category in ("simple_python", "parallel", "irrelevance", "live_relevance")
    )
    right = "[calculate_triangle_area(base=10, height=5)]"
    cases = [
        (one, right, 1.0, 1.0),
        (one, "<think>base=10?</think>" + right, 1.0, 1.0),
        (
            one,
            '<tool_call>{"name": "calculate_triangle_area", "arguments": {"base": 10, "height": 5}}</tool_call>',
            1,
            1,
        ),
        (one, "[calculate_triangle_area(base=10, height=6)]", 0.0, 1.0),
        (one, f"Sure: {right}", 0.0, 0.0),
        (one, "", 0.0, 0.0),
        (
            several,
            '[spotify.play(artist="Maroon 5", duration=15), spotify.play(artist="taylor swift", duration=20)]',
            1,
            1,
        ),
        (several, '[spotify.play(artist="Maroon 5", duration=15)]', 0.0, 1.0),
        (none, "None of the functions can be used.", 1.0, None),
        (none, "[]", 1.0, None),
        (none, "[determine_body_mass_index(weight=1.0, height=2.0)]", 0.0, None),
        (some, "[anything()]", 1.0, 1.0),
        (some, "Which one?", 0.0, 0.0),
    ]
    completions = [completion(prompt, text) for prompt, text, _, _ in cases]
    assert BFCLMatch().score(completions) == [match for _, _, match, _ in cases]
    assert BFCLFormat().score(completions) == [form for _, _, _, form in cases]
    by_category = BFCLMatchByCategory(["irrelevance", "parallel"])
    assert by_category.reward_names == ("irrelevance", "parallel")
    assert by_category.reward_bounds == {"irrelevance": (0.0, 1.0), "parallel": (0.0, 1.0)}
    assert by_category.score(completions)["parallel"] == [None] * 6 + [1.0, 0.0] + [None] * 5


def test_calls_that_were_parsed_already_count_as_they_are() -> None:
    (prompt,) = BFCLPrompts("simple_python", limit=1, functions="tools").load()
    function = {"name": "calculate_triangle_area", "arguments": {"base": 10, "height": 5}}
    reply = {
        "role": "assistant",
        "content": "Now:",
        "tool_calls": [{"type": "function", "id": "0", "function": function}],
    }
    (turn,) = completion(prompt, "").turns
    assert BFCLMatch().score([Completion(prompt, "Now:", (), turns=(evolve(turn, reply=reply),))]) == [1.0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"category": "multi_turn_base"}, "single-turn categories; got a prompt of 'multi_turn_base'"),
        ({"category": "multiple", "answer": [{"g": {}}]}, "calls 'g', which is not among the functions"),
        ({"category": "simple_python", "answer": [{"f": {"x": [1]}}]}, "no type 'number'; expected one of string"),
    ],
)
def test_prompts_that_break_the_rules_are_refused(columns: Mapping[str, Any], message: str) -> None:
    functions = [{"name": "f", "parameters": {"properties": {"x": {"type": "number"}}, "required": []}}]
    prompt = Prompt("?", {"functions": functions, "answer": [], **columns})
    with pytest.raises(DataError, match=message):
        BFCLMatch().score([completion(prompt, "[f(x=1)]")])
