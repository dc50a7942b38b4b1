"""Reading calls: what BFCL reads, without evaluating anything, and never an exception."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl_bfcl.calls import LONGEST, read_calls, read_reply


def plain(text: str) -> list[dict[str, Any]] | None:
    calls = read_calls(text)
    return None if calls is None else [{call.name: dict(call.arguments)} for call in calls]


READ = [
    "[f(x=1, y='a b'), a.b.c(z=[1.5, None, True, {'k': (1, 2)}])]",
    "f(x=-1)",
    "[f()]",
    "```\n[f(x=1)]\n```",
    "",
    "[]",
    "f(x=name, y=g(1, 2), z=g(a=1), w=items[0, 1], v=..., u=b'x')",
    "f(x=2 * 3.5 - 1, y='a' + 'b', z=2**10, w=7 // 2, v=7 % 4, u=1 / 4, t=-2 + 1)",
    "f(1, 2, x=3, *args, **more)",
    "f()(x=1)",
    "f(x=1, x=2)",
    "f(x={'a': [{'b': -2}]})",
]
UNREADABLE = [
    "I cannot do that.",
    "Sure: [f(x=1)]",
    "```python\n[f(x=1)]\n```",
    "[f(x=1)] and [g()]",
    "[f(x=1)][0]",
    "[f(x=1), 2]",
    "[f(x=1), [g()]]",
    "[f(x for x in y)]" + "[",
    "f(x={1, 2})",
    "f(x=a.b)",
    "f(x=lambda: 1)",
    "f(x=[i for i in y])",
    "f(x={**a})",
    "f(x=1 / 0)",
    "f(x=- -2)",
    "f(x=1 if y else 2)",
    "f(x=f'{y}')",
    "f(x=not_closed",
    "f(x='\x00')",
]


@pytest.mark.parametrize("text", READ)
def test_what_the_own_parser_reads(bfcl: SimpleNamespace, text: str) -> None:
    assert plain(text) == bfcl.text.default_decode_ast_prompting(text)


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_the_own_parser_does_not_read(bfcl: SimpleNamespace, text: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - it has no errors of its own
        bfcl.text.default_decode_ast_prompting(text)
    assert read_calls(text) is None


def test_nothing_is_evaluated() -> None:
    """BFCL computes what an argument says, whatever it says."""
    assert read_calls("f(x=__import__('os').getcwd() + '')") is None
    assert read_calls("f(x=name + 'a')") is None
    assert read_calls("f(x=(lambda: 1)() + 1)") is None
    assert read_calls("f(x=9**9**9)") is None
    assert read_calls("f(x='a' * 10**9)") is None
    assert read_calls("f(x=2**100_000)") is None
    assert plain("f(x=+5)") == [{"f": {"x": 5}}]  # which BFCL takes for -5


@pytest.mark.parametrize("begin", ["f(x=", "-", "[", "f(x=-", "f(x=1+", "not ", "f(x=[", "a."])
def test_deep_texts_are_unreadable_also_in_a_small_stack(begin: str) -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(read_calls(begin * 15_000 + "1")))
    thread.start()
    thread.join()
    assert found == [None]
    assert read_calls("[f(x='" + "a" * LONGEST + "')]") is None


def test_blocks_of_json() -> None:
    one = '<tool_call>\n{"name": "a.b", "arguments": {"x": [1, null]}}\n</tool_call>'
    assert plain(f"Well: {one}{one}") == [{"a.b": {"x": [1, None]}}] * 2
    assert plain(f"<tool_call>{{</tool_call>{one}") == [{"a.b": {"x": [1, None]}}]
    assert plain("<think><tool_call></think>[f()]") == [{"f": {}}]
    assert plain("<tool_call>{") == []
    for wrong in ('{"name": "f"}', '{"name": 1, "arguments": {}}', '{"name": "f", "arguments": "{}"}', "[1]"):
        assert read_calls(f"<tool_call>{wrong}</tool_call>") is None
    assert read_calls("<tool_call>" + "[" * 50_000 + "</tool_call>") == ()


@given(st.text() | st.text(alphabet="f(x=1),[]{}'\"-*\\ \n:.<>tool_call/") | st.from_regex(r"\[f\(x=.*\)\]"))
def test_reading_never_raises(text: str) -> None:
    calls = read_reply({"role": "assistant", "content": text})
    assert calls is None or all(isinstance(call.name, str) for call in calls)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["x", "y", "z"]), values))
def test_what_is_written_is_read(arguments: dict[str, Any]) -> None:
    assert plain(f"[f({', '.join(f'{key}={value!r}' for key, value in arguments.items())})]") == [{"f": arguments}]
