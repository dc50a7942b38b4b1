"""What tools may do to those who call them: whatever it is, the policy is told, and nobody else is harmed."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import sys
import threading
import types
from typing import Any

import numpy as np
import pytest
import torch

from morl import ConfigError, Prompt, RolloutError
from morl.calls import Loops
from morl.environments import calling
from morl.environments.results import result_text
from morl.environments.tools import Tools
from morl.types import Message


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Blank:
    pass


def tool(body: str, asynchronous: bool = False) -> Any:
    docstring = '"""F.\n\n    Args:\n        n: a number\n    """'
    source = f"{'async ' * asynchronous}def f(n: int) -> str:\n    {docstring}\n    {body}"
    names = {"asyncio": asyncio, "sys": sys, "Mute": Mute, "Blank": Blank}
    exec(source, names)
    return names["f"]


def told(function: Any, call_timeout: float = 30) -> str:
    episode = Tools([function], call_timeout=call_timeout).open(Prompt("x"), 0)
    call = {"type": "function", "id": "1", "function": {"name": "f", "arguments": {"n": 3}}}
    reply: Message = {"role": "assistant", "content": "", "tool_calls": [call]}
    content: str = asyncio.run(episode.step(reply)).messages[0]["content"]
    return content


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(n)", "Error: RuntimeError: SystemExit: 3"),
        ("raise KeyboardInterrupt", "Error: RuntimeError: KeyboardInterrupt: "),
        ("raise asyncio.CancelledError", "Error: RuntimeError: CancelledError: "),
        (
            "raise BaseExceptionGroup('g', [SystemExit()])",
            "Error: RuntimeError: BaseExceptionGroup: g (1 sub-exception)",
        ),
        ("raise Mute", "Error: Mute: (it has no text)"),
        ("return (i for i in range(n))", "Error: NoTextError: the tool returned a generator, which has no text"),
        ("return {'x': [Blank()]}", "Error: NoTextError: the tool returned a Blank, which has no text"),
        ("return b'caf\\xc3\\xa9' + b'\\xff'", "café\ufffd"),
        ("return {'b': b'x'}", '{"b": "x"}'),
        ("return {'b': {str(i) for i in range(9)}}", '{"b": ["0", "1", "2", "3", "4", "5", "6", "7", "8"]}'),
        ("return '\\ud800'", "?"),
        ("x = {}; x['x'] = x; return x", "{'x': {...}}"),
        ("return 10**6000", "Error: ValueError: Exceeds the limit"),
        ("x = []; [x := [x] for _ in range(100000)]; return x", "Error: RecursionError"),
    ],
)
def test_whatever_a_tool_does_the_policy_is_told(body: str, said: str, asynchronous: bool) -> None:
    assert told(tool(body, asynchronous)).startswith(said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("asyncio.current_task().cancel(); await asyncio.sleep(60)", "Error: RuntimeError: CancelledError: "),
        ("asyncio.current_task().cancel(); return 'done'", "Error: RuntimeError: CancelledError: "),
    ],
)
def test_a_tool_may_cancel_itself_and_nobody_else(body: str, said: str) -> None:
    assert told(tool(body, asynchronous=True)) == said


@pytest.mark.parametrize(
    "body",
    [
        "try: await asyncio.sleep(60)\n    except asyncio.CancelledError: return 'no notice'",
        "import time; time.sleep(0.1); return 'the loop was blocked'",
    ],
)
def test_an_answer_after_the_limit_is_none(body: str) -> None:
    assert told(tool(body, asynchronous=True), call_timeout=0.05) == "Error: TimeoutError: no answer within 0.05 s"


def test_calls_that_cannot_be_stopped_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "MOST_LEFT", 3)
    gate = threading.Event()
    hangs = tool("gate.wait(60); return n")
    hangs.__globals__["gate"] = gate
    for _ in range(3):
        assert told(hangs, call_timeout=0.02) == "Error: TimeoutError: no answer within 0.02 s"
    with pytest.raises(RolloutError, match="3 calls of tools still run after their time limit"):
        told(hangs, call_timeout=0.02)
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "morl-tool":
            thread.join(60)
    assert told(hangs) == "3", "they have ended"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_tool_that_yields_is_refused(asynchronous: bool) -> None:
    with pytest.raises(ConfigError, match="yields, and a call has one result: return a list"):
        Tools([tool("yield n", asynchronous)])


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Sight:
    colour: Colour
    far: Any


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.int64(3), "3"),
        (np.bool_(True), "true"),
        (np.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        ({"n": torch.tensor(3), "x": np.float64(0.5)}, '{"n": 3, "x": 0.5}'),
        (Colour.RED, "red"),
        ([Sight(Colour.RED, np.arange(2))], '[{"colour": "red", "far": [0, 1]}]'),
        ([{"type": "text", "text": "a\nb"}, {"type": "text", "text": "c"}], "a\nb\nc"),
        ([{"type": "text", "text": "a"}, {"type": "image"}], '[{"type": "text", "text": "a"}, {"type": "image"}]'),
        (datetime.date(2026, 12, 1), "2026-12-01"),
        ({"on": datetime.date(2026, 12, 1)}, '{"on": "2026-12-01"}'),
        (decimal.Decimal("0.50"), "0.50"),
        (range(3), "[0, 1, 2]"),
        (types.MappingProxyType({"a": {2: 1}.keys()}), '{"a": [2]}'),
        (collections.deque([1, (2, None)]), "[1, [2, null]]"),
        (memoryview(b"raw"), "raw"),
        ([], "[]"),
        ((1, "a"), '[1, "a"]'),
        ({(1, 2): 3}, "{(1, 2): 3}"),
    ],
)
def test_results_of_other_libraries_are_numbers_lists_and_objects(value: Any, text: str) -> None:
    assert result_text(value, None) == text


def test_blocks_of_a_client_of_mcp_are_their_texts() -> None:
    pydantic = pytest.importorskip("pydantic")
    text = pydantic.create_model("TextContent", type=(str, "text"), text=(str, ...), annotations=(dict | None, None))
    result = pydantic.create_model("CallToolResult", content=(list[text], ...), isError=(bool, False))
    blocks = [text(text="5 apples"), text(text="é")]
    assert result_text(blocks, None) == "5 apples\né"
    told = '{"content": [{"type": "text", "text": "5 apples", "annotations": null}], "isError": false}'
    assert result_text(result(content=blocks[:1]), None) == told


def test_a_table_is_read_as_it_is_printed() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"item": ["pear"], "price": [0.75]})
    assert result_text(table, None) == str(table)


def test_where_a_tool_raises_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    episode = Tools([tool("return 1 // (n - 3)")]).open(Prompt("x"), 0)
    call = {"type": "function", "id": "1", "function": {"name": "f", "arguments": {"n": 3}}}
    for _ in range(3):
        answer = asyncio.run(episode.step({"role": "assistant", "content": "", "tool_calls": [call, call]}))
    assert answer.info == {"failed_calls": 6}
    (record,) = caplog.records
    assert record.getMessage().startswith("the tool f failed: ZeroDivisionError: integer division or modulo by zero (<")
    assert "are only counted" in record.getMessage()


def test_every_call_of_a_reply_is_answered_in_its_order() -> None:
    episode = Tools([tool("return 100 // (n - 7)")]).open(Prompt("x"), 0)
    calls = [{"type": "function", "id": f"{n}", "function": {"name": "f", "arguments": {"n": n}}} for n in range(50)]
    answer = asyncio.run(episode.step({"role": "assistant", "content": "", "tool_calls": calls}))
    assert [message["tool_call_id"] for message in answer.messages] == [f"{n}" for n in range(50)]
    said = [message["content"] for message in answer.messages]
    assert said.pop(7).startswith("Error: ZeroDivisionError")
    assert said == [str(100 // (n - 7)) for n in range(50) if n != 7]


def test_an_argument_may_have_any_name() -> None:
    names = ("function", "start", "arguments", "method", "name", "limit")
    described = "".join(f"        {name}: a text\n" for name in names)
    body = f'"""G.\n\n    Args:\n{described}    """\n    return start'
    source = f"async def g({': str, '.join(names)}: str) -> str:\n    {body}"
    for kind in (source, source.removeprefix("async ")):
        made: dict[str, Any] = {}
        exec(kind, made)
        call = {"type": "function", "id": "1", "function": {"name": "g", "arguments": {name: name for name in names}}}
        episode = Tools([made["g"]]).open(Prompt("x"), 0)
        answer = asyncio.run(episode.step({"role": "assistant", "content": "", "tool_calls": [call]}))
        assert answer.messages[0]["content"] == "start"


def test_a_result_is_the_same_text_in_every_run() -> None:
    with pytest.raises(TypeError, match="has no text"):
        result_text(object(), None)
    assert result_text("an object at 0xabcdef0 is text", None) == "an object at 0xabcdef0 is text"


def test_an_event_loop_outlives_a_coroutine_that_ends_the_process() -> None:
    async def leaves() -> None:
        sys.exit(3)

    async def stays() -> int:
        await asyncio.sleep(0)
        return 1

    loops = Loops("test-loop")
    try:
        with pytest.raises(SystemExit):
            loops.submit(leaves())[1].result(60)
        assert loops.submit(stays())[1].result(60) == 1
    finally:
        loops.close()
