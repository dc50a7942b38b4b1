"""The multi-turn tasks: results and verdicts are BFCL's own, and nothing of a reply is evaluated."""

from __future__ import annotations

import contextlib
import decimal
import io
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import mpmath
import pytest

from morl.errors import DataError
from morl.testing import check_environment
from morl.types import CompletionStatus, EnvironmentAnswer, Message, Prompt
from morl_bfcl.calls import positional
from morl_bfcl.categories import MULTI_TURN
from morl_bfcl.entries import Entry, find, load
from morl_bfcl.environment import BFCLEnvironment, BFCLEpisode, _contains
from morl_bfcl.package import world_class
from morl_bfcl.prompts import BFCLPrompts
from morl_bfcl.tally import Tally
from morl_bfcl.world import World

_run = itertools.count()
Steps = list[list[str]]
"""The calls of one turn, as text, reply by reply."""


def parameters(name: str, entry: Entry) -> list[str]:
    docs = [*entry.functions, *itertools.chain(*entry.withheld.values())]
    return list(next(doc for doc in docs if doc["name"] == name)["parameters"]["properties"])


def reply(calls: Sequence[str], entry: Entry) -> Message:
    """As a chat template's parser gives it: reference answers name some arguments by their place."""
    found = []
    for number, text in enumerate(calls):
        name, values, named = positional(text)
        arguments = {**dict(zip(parameters(name, entry), values, strict=False)), **named} if values else dict(named)
        found.append({"type": "function", "id": str(number), "function": {"name": name, "arguments": arguments}})
    return {"role": "assistant", "content": "", **({"tool_calls": found} if found else {})}


def play(episode: BFCLEpisode, turns: Sequence[Steps], entry: Entry) -> tuple[dict[str, float | None], list[list[str]]]:
    """The rewards of an episode, and the results of each turn."""
    totals: dict[str, float | None] = {}
    results: list[list[str]] = []
    for steps in turns:
        results.append([])
        for calls in [*steps, []]:
            answer = episode.step(reply(calls, entry))
            add(totals, answer)
            results[-1] += [message["content"] for message in answer.messages if message["role"] == "tool"]
            if answer.done:
                return totals, results
    return totals, results


def add(totals: dict[str, float | None], answer: EnvironmentAnswer) -> None:
    for name, value in answer.rewards.items():
        totals[name] = None if value is None else (totals.get(name) or 0.0) + value


def verdict(bfcl: SimpleNamespace, entry: Entry, turns: Sequence[Steps]) -> bool:
    """What BFCL's checker says of the same calls; it keeps worlds by the model's name, so each run has one."""
    row = {"id": entry.id, "initial_config": entry.config, "involved_classes": entry.classes}
    found = bfcl.turns.multi_turn_checker(turns, entry.answer, row, entry.category, f"model{next(_run)}")
    return bool(found["valid"])


def begin(entry: Entry, max_steps: int = 50) -> BFCLEpisode:
    """BFCL's checker has no limit of steps, and reference answers have up to 35 calls in a turn."""
    return BFCLEpisode(entry, in_text=False, max_steps=max_steps)


def gold(entry: Entry) -> list[Steps]:
    assert entry.answer is not None
    return [[[call] for call in calls] for calls in entry.answer]


@pytest.mark.parametrize("category", MULTI_TURN)
def test_all_reference_answers_and_their_results_are_those_of_the_own_code(
    bfcl: SimpleNamespace, category: str
) -> None:
    for entry in load(category):
        totals, results = play(begin(entry), gold(entry), entry)
        assert (totals["solved"], totals["state"], totals["response"]) == (1.0, 1.0, 1.0)
        assert totals["quiet"] == (1.0 if [] in list(entry.answer or []) else None)
        assert verdict(bfcl, entry, gold(entry))
        name = f"model{next(_run)}"
        for calls, seen in zip(entry.answer or [], results, strict=True):
            theirs, _ = bfcl.turns.execute_multi_turn_func_call(
                list(calls), entry.config, entry.classes, name, entry.id, entry.long_context
            )
            assert seen == theirs


def perturbed(draw: random.Random, entry: Entry) -> list[Steps]:
    """The reference answer after up to two changes."""
    turns = gold(entry)
    calls = [call for steps in turns for step in steps for call in step]
    for _ in range(draw.randrange(3)):
        steps = draw.choice(turns)
        match draw.randrange(7):
            case 0 if steps:
                del steps[draw.randrange(len(steps))]
            case 1:
                steps.insert(draw.randrange(len(steps) + 1), [draw.choice(calls)])
            case 2:
                steps.append(
                    [draw.choice(["no_such_tool(x=1)", "ls(a=1, b=2)", "cd(folder='nowhere')", "add(a=1, b=2)"])]
                )
            case 3 if steps:
                draw.shuffle(steps)
            case 4 if steps:  # all calls of the turn in one reply
                steps[:] = [[call for step in steps for call in step]]
            case 5:
                steps.clear()
            case 6 if steps:
                step = draw.choice(steps)
                step[0] = step[0].replace("a", "e").replace("1", "2")
    return turns


def test_perturbed_traces(bfcl: SimpleNamespace) -> None:
    draw = random.Random(0)
    entries = [entry for category in MULTI_TURN for entry in load(category)]
    verdicts = []
    for _ in range(150):
        entry = draw.choice(entries)
        turns = perturbed(draw, entry)
        with contextlib.suppress(StopIteration, ValueError):  # a change that leaves no call of a known name
            totals, _ = play(begin(entry), turns, entry)
            assert totals["solved"] == verdict(bfcl, entry, turns), (entry.id, turns)
            verdicts.append(totals["solved"])
            assert all(value is None or 0.0 <= value <= 1.0 for value in totals.values())
    assert len(verdicts) >= 100
    assert 0.3 < sum(map(bool, verdicts)) / len(verdicts) < 0.8


def test_calls_in_the_text_are_answered_as_bfcl_does() -> None:
    entry = find("multi_turn_base_1")
    episode = BFCLEpisode(entry, in_text=True, max_steps=20)
    assert episode.tools == []
    answer = episode.step({"role": "assistant", "content": "[ls(a=True), pwd()]"})
    results = [{"role": "tool", "name": "ls(a=True)"}, {"role": "tool", "name": "pwd()"}]
    shown = [
        {**result, "content": json.dumps(value)}
        for result, value in zip(
            results, [{"current_directory_content": ["workspace"]}, {"current_working_directory": "/alex"}], strict=True
        )
    ]
    assert answer.messages == [{"role": "user", "content": repr(shown)}]
    (message,) = episode.step({"role": "assistant", "content": "[pwd(x=pwd())]"}).messages
    assert "has a call as an argument; call one by one" in message["content"]
    assert episode.step({"role": "assistant", "content": "That is done."}).messages == list(entry.turns[1])


def test_silence_matches_nothing() -> None:
    """Also where the state needs no change: BFCL wants a call in every turn that has calls in its answer."""
    for name in ("multi_turn_base_1", "multi_turn_miss_param_1"):
        entry = find(name)
        totals, _ = play(begin(entry), [[] for _ in entry.turns], entry)
        assert totals == {"solved": 0.0, "state": 0.0, "response": 0.0, "quiet": totals["quiet"], "failed": 0.0}


@pytest.mark.parametrize(
    ("seen", "expected", "contained"),
    [
        ("ab", "ba", True),
        ("abc", "ca", True),
        ("ab", "aa", False),
        ("aab", "aa", True),
        ("", "a", False),
        ("a", "", True),
    ],
)
def test_every_expected_result_counts_as_often_as_it_is_expected(
    bfcl: SimpleNamespace, seen: str, expected: str, contained: bool
) -> None:
    assert _contains(list(seen), list(expected)) == contained
    assert bfcl.turns.response_checker(list(seen), list(expected), 0)["valid"] == contained


def test_what_answers_give_adds_up_without_a_rounding_error() -> None:
    draw = random.Random(0)
    tally, total = Tally(needed=7, idle=1), 0.0
    for calls in range(1, 200):
        tally.calls, tally.failures = calls, tally.failures + (draw.random() < 0.5)
        total += tally.given(finished=False)["failed"] or 0.0
        assert total == pytest.approx(tally.failures / calls, abs=1e-12)
        assert total * 2**40 == int(total * 2**40)
    for turn in range(7):
        tally.state = turn + 1
        total += tally.given(finished=False)["state"] or 0.0
    assert total - round(tally.failures / 199 * 2**40) / 2**40 == 1.0


def test_an_episode_that_is_cut_keeps_what_it_has() -> None:
    entry = find("multi_turn_base_0")
    episode = begin(entry)
    totals: dict[str, float | None] = {}
    for calls in [*(step for step in gold(entry)[0]), []]:
        add(totals, episode.step(reply(calls, entry)))
    assert totals["state"] == totals["response"] == 0.25
    assert set(episode.finish(CompletionStatus.TURN_LIMIT).values()) == {0.0, None}
    assert begin(entry).finish(CompletionStatus.TURN_LIMIT) == dict.fromkeys(totals, 0.0) | {"quiet": None}


def test_functions_that_were_withheld_are_announced_and_can_be_called() -> None:
    entry = find("multi_turn_miss_func_0")
    assert "'sort'" not in str(begin(entry).tools)
    episode = begin(entry)
    said = [episode.step({"role": "assistant", "content": ""}) for _ in range(3)]
    (message,) = said[-1].messages
    assert message["role"] == "user"
    assert "'name': 'sort'" in message["content"]
    (result,) = episode.step(reply(["sort(file_name='nothing')"], entry)).messages
    assert "No such file" in result["content"]


def test_a_turn_of_too_many_steps_ends_the_episode(bfcl: SimpleNamespace) -> None:
    """The last turn is compared even so, as BFCL does; an earlier one fails the whole task."""
    entry = find("multi_turn_base_0")
    episode = begin(entry, max_steps=2)
    answers = [episode.step(reply(["pwd()"], entry)) for _ in range(3)]
    assert [answer.done for answer in answers] == [False, False, True]
    turns = gold(entry)
    turns[-1] += [["pwd()"]] * (21 - len(turns[-1]))
    totals, _ = play(begin(entry, 20), turns, entry)
    assert totals["solved"] == verdict(bfcl, entry, turns) == 1.0
    assert all(
        value == 0.0 for value in play(begin(entry, 20), [[["pwd()"]] * 21], entry)[0].values() if value is not None
    )


@pytest.mark.parametrize(
    "name", ["_load_scenario", "__init__", "print", "GorillaFileSystem.ls", "exit", "__class__", "", "os.system"]
)
def test_only_public_methods_can_be_called(name: str) -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        result = World.begin(find("multi_turn_base_0")).call(name, {})
    assert result.failed
    assert "is not defined" in result.text
    assert output.getvalue() == ""


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("power", {"base": 9, "exponent": 10**9}, "too large to compute with"),
        ("power", {"base": 9.0, "exponent": 10**9}, "Numerical result out of range"),
        ("power", {"base": 2, "exponent": 10}, '{"result": 1024}'),
        ("power", {"base": "2", "exponent": [1]}, '{"error": "Both inputs must be numbers"}'),
        ("logarithm", {"value": 2.0, "base": 10.0, "precision": 10**9}, "too large to compute with"),
        ("logarithm", {"value": 2.0, "base": 10.0, "precision": "1000000000"}, "too large to compute with"),
        ("logarithm", {"value": 2.0, "base": 10.0, "precision": float("nan")}, "too large to compute with"),
        ("square_root", {"number": 2.0, "precision": 10**400}, "too large to compute with"),
        ("round_number", {"number": 5, "decimal_places": -(10**9)}, "too large to compute with"),
        ("add", {"a": 10**5000, "b": 1}, "Exceeds the limit"),
        ("add", {"self": 1}, "multiple values"),
        ("add", {}, "missing 2 required positional arguments"),
    ],
)
def test_what_would_take_too_long_or_fails_has_a_result(name: str, arguments: Mapping[str, Any], text: str) -> None:
    entry = next(entry for entry in load("multi_turn_base") if "MathAPI" in entry.classes)
    assert text in World.begin(entry).call(name, arguments).text


def test_the_precision_of_one_call_is_not_that_of_others() -> None:
    entry = next(entry for entry in load("multi_turn_base") if "MathAPI" in entry.classes)
    world, before = World.begin(entry), (mpmath.mp.dps, decimal.getcontext().prec)
    text = world.call("logarithm", {"value": 2.0, "base": 10.0, "precision": 40}).text
    assert "0.301029995663981195213738894724493026768" in text
    world.call("square_root", {"number": 2.0, "precision": 40})
    assert (mpmath.mp.dps, decimal.getcontext().prec) == before


def test_a_world_shares_nothing_with_another_one_nor_with_a_reply() -> None:
    entry = next(entry for entry in load("multi_turn_base") if "TwitterAPI" in entry.classes)
    one, other = World.begin(entry), World.begin(entry)
    tags = ["#a"]
    one.call("authenticate_twitter", {"username": "analyst_pro", "password": "Kj8#mP9$vL2"})
    one.call("post_tweet", {"content": "x", "tags": tags})
    tags.append("#b")
    assert other.equals(World.begin(entry))
    assert not one.equals(other)
    assert "'#b'" not in str(vars(one.instances["TwitterAPI"]))


@pytest.mark.parametrize("column", [{"id": "multi_turn_base_900"}, {"id": "simple_python_0"}, {"id": "0"}])
def test_a_prompt_of_another_source_is_refused(column: Mapping[str, Any]) -> None:
    prompt = Prompt("?", {**column, "bfcl_conversation": {"calls_in": "tools"}})
    with pytest.raises(DataError, match=f"no multi-turn task '{column['id']}'"):
        BFCLEnvironment().open(prompt, 0)


def silent(_: Sequence[Message]) -> Message:
    return {"role": "assistant", "content": "I am done."}


def tries(messages: Sequence[Message]) -> Message:
    """One call after each word of the user, then the next turn."""
    if messages[-1]["role"] != "user":
        return silent(messages)
    function = {"name": "ls", "arguments": {"a": True}}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "a", "function": function}]}


@pytest.mark.parametrize("policy", [silent, tries])
@pytest.mark.parametrize("functions", ["system", "tools"])
def test_the_kit_for_environments(policy: Callable[[Sequence[Message]], Message], functions: Any) -> None:
    prompts = BFCLPrompts(["multi_turn_base", "multi_turn_miss_param"], functions, limit=2).load()
    check_environment(BFCLEnvironment, prompts, policy)


def test_what_is_loaded_of_the_package_leaves_no_trace() -> None:
    """Its loader makes folders when it is imported, and its checkers import the SDKs of vendors."""
    script = (
        "import sys\n"
        "from morl_bfcl.environment import BFCLEnvironment\n"
        "from morl_bfcl.prompts import BFCLPrompts\n"
        "prompts = BFCLPrompts(['simple_python', 'multi_turn_base'], limit=2).load()\n"
        "BFCLEnvironment().open(prompts[-1], 0)\n"
        "print(*sorted(name for name in sys.modules if name.startswith('bfcl_eval.constants')))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["bfcl_eval.constants", "bfcl_eval.constants.default_prompts"]


def test_every_world_is_used() -> None:
    """The tests above see all classes of the package's tasks."""
    used = {name for category in MULTI_TURN for entry in load(category) for name in entry.classes}
    assert used == {type(world_class(name)()).__name__ for name in used}
    assert len(used) == 8
