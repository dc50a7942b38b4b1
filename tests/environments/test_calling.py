"""What tools may do to those who call them: whatever it is, the policy is told, and nobody else is harmed."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from morl import ConfigError, Prompt
from morl.calls import Loops
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
        ("return {'b': {str(i) for i in range(4)}}", '{"b": ["0", "1", "2", "3"]}'),
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


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_tool_that_yields_is_refused(asynchronous: bool) -> None:
    with pytest.raises(ConfigError, match="yields, and a call has one result: return a list"):
        Tools([tool("yield n", asynchronous)])


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
