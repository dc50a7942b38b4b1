"""Calls of tools are read as their models write them, well and badly."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
from chat_families import end_ids, family_tokenizer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from renderers_oracle import CALLS, opening
from reply_formats import TOOLS, WITH_TOOLS, encoded, plain_format, tool_format
from trl.chat_template_utils import add_response_schema

from morl.conversation import CallStatus, ReplyFormat
from morl.conversation.call_formats import CALL_FORMATS
from morl.conversation.reading import Reader, by_name
from morl.errors import ConfigError
from morl.prompts import ChatTemplate

RECORDED = json.loads((Path(__file__).parent / "oracle" / "renderers.json").read_text(encoding="utf-8"))["calls"]


def read(name, text):
    """Statuses, names and arguments of the calls of a reply of a model."""
    return [(call.name, call.arguments, call.status) for call in tool_format(name).parse(encoded(name, text)).calls]


def call_of(name, text):
    (call,) = tool_format(name).parse(encoded(name, text)).calls
    return call


# Against others ------------------------------------------------------------------------------------------------------

SAME: dict[str, set[str]] = {
    "ok": {"ok", "unknown_tool", "wrong_arguments"},  # looks at no tools, but for GLM's names
    "invalid_json": {"invalid_json", "wrong_arguments"},  # a text where the schema has a number
}
"""Status by the package `renderers` -> what it may be here; itself where it is not listed."""

DIFFERENT = [
    ('"arguments": [3]}', ["malformed_structure"]),  # passes there
    ('"arguments": "{', ["malformed_structure"]),  # passes there
    ('"parameters": [3]}', ["malformed_structure"]),  # passes there
    ("\n[3]\n", ["malformed_structure"]),  # passes there
    ("NaN", ["invalid_json"]),  # passes there, though it is no JSON
    ('["add"]', ["malformed_structure"]),  # a call without a name there
    ("a </tool_call> b", ["ok"]),  # ends the block there, though it stands in a string
    ("<｜tool▁sep｜>\n```json", ["missing_name"]),  # takes ```json for the name
    ('<|python_tag|>{"name"', ["ok"]),  # text there
    ('}}; {"name"', ["ok", "wrong_arguments"]),  # text there
    ('{"name": "add", "parameters": {"x": 3}|', ["invalid_json"]),  # text there
]
"""A part of a reply, which ends at | -> its statuses here, and what `renderers` does."""


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_read_as_the_package_renderers_reads_them(name):
    assert set(RECORDED[name]) == set(CALLS[name])
    for text, wanted in RECORDED[name].items():
        parsed = tool_format(name).parse(encoded(name, text))
        statuses = [str(call.status) for call in parsed.calls]
        different = next((ours for part, ours in DIFFERENT if part in f"{text}|"), None)
        if different is not None:
            assert statuses == different, text
            continue
        assert len(statuses) == len(wanted["calls"]), text
        for call, (called, arguments, status) in zip(parsed.calls, wanted["calls"], strict=True):
            assert str(call.status) in SAME.get(status, {status}), text
            assert called is None or call.name == called
            assert status != "ok" or call.arguments == arguments
        assert parsed.message["content"] == wanted["content"].strip()
        assert parsed.message.get("reasoning_content", "") == (wanted["reasoning"] or "")


WELL_FORMED = {
    "qwen2_5": CALLS["qwen3"][:1] + CALLS["qwen3"][-2:-1],
    "qwen3": CALLS["qwen3"][:2] + CALLS["qwen3"][-2:-1],
    "qwen3_5_think": CALLS["qwen3_5_think"][:2] + CALLS["qwen3_5_think"][3:4],
    "nemotron_3_nano": CALLS["nemotron_3_nano"][:2] + CALLS["nemotron_3_nano"][3:4],
    "llama3_2": (CALLS["llama3_1"][0] + "<|eot_id|>",),
    "glm4moe": CALLS["glm4moe"][:2],
    "gemma4": CALLS["gemma4"][:2],
    "lfm2_2_5": ("<|tool_call_start|>[add(x=3, s='a b', l=[1, 2]), find(x=-1)]<|tool_call_end|>",),
    "gptoss": (  # headers as the template writes them; what the model may write as well is an empty message there
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant to=functions.add<|channel|>commentary json"
        '<|message|>{"x": 3, "s": "a b"}<|call|>',
        "<|channel|>final<|message|>it is 42<|return|>",
    ),
}
"""Name of a template -> replies that transformers reads, too.  For others it raises: one malformed call loses all."""


@pytest.mark.parametrize("name", WELL_FORMED)
def test_calls_are_read_as_transformers_reads_them(name):
    tokenizer = add_response_schema(copy.deepcopy(family_tokenizer(name)))
    for text in WELL_FORMED[name]:
        wanted = tokenizer.parse_response(text, prefix=tokenizer.decode(opening(name)), tools=TOOLS)
        parsed = tool_format(name).parse(encoded(name, text))
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in wanted.get("tool_calls") or ()]
        assert [(call.name, call.arguments) for call in parsed.calls] == calls
        assert parsed.message["content"].strip() == (wanted.get("content") or "").strip()
        thought = wanted.get("thinking") or wanted.get("reasoning_content") or ""
        assert parsed.message.get("reasoning_content", "") == thought.strip()


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "glm4moe"])
def test_one_malformed_call_loses_none_of_the_others(name):
    good = CALLS[name][0][CALLS[name][0].index("<tool_call>") :]
    statuses = [status for *_, status in read(name, f"</think>{good}<tool_call>{{]</tool_call>{good}<tool_call>{{]")]
    assert [statuses[0], statuses[2]] == [CallStatus.OK, CallStatus.OK]
    assert len(statuses) == 4
    assert statuses[3] is CallStatus.UNCLOSED_BLOCK


# Round trip ----------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="'\"\\<|"), max_size=12)
"""Texts that every format can write: one of them quotes with nothing but ', and another does not escape at all."""
ARGUMENTS = st.fixed_dictionaries(
    {"x": st.integers(-(10**9), 10**9)},
    optional={"s": TEXTS.map(lambda text: f"a{text}z"), "l": st.lists(st.integers(-5, 99), max_size=3)},
)


@pytest.mark.parametrize("name", [name for name in WITH_TOOLS if name != "lfm2"])  # its template writes no calls
def test_what_the_template_writes_for_calls_is_read_back(name):
    tokenizer, format = family_tokenizer(name), tool_format(name)
    most = 1 if name.startswith(("llama", "gptoss")) else 3

    @given(st.lists(st.tuples(st.sampled_from(["add", "find"]), ARGUMENTS), min_size=1, max_size=most))
    @settings(max_examples=20)
    def holds(calls):
        written = [
            {"type": "function", "id": f"call00{number:03}", "function": {"name": called, "arguments": arguments}}
            for number, (called, arguments) in enumerate(calls)
        ]
        if name.startswith("deepseek"):  # wants text
            for each in written:
                each["function"]["arguments"] = json.dumps(each["function"]["arguments"])
        messages = [{"role": "user", "content": "u"}]
        start = tokenizer.apply_chat_template(messages, tools=TOOLS, tokenize=False, add_generation_prompt=True)
        messages += [{"role": "assistant", "content": "", "tool_calls": written}]
        if name == "deepseek_r1_distill":
            return  # drops calls of earlier replies, and writes none as the last message
        text = tokenizer.apply_chat_template(messages, tools=TOOLS, tokenize=False)
        common = next((i for i, (a, b) in enumerate(zip(start, text, strict=False)) if a != b), len(start))
        reply = text[text.rindex("<", 0, common + 1) :] if text[common - 1 : common + 1] == "<｜" else text[common:]
        for end in ("\n", "<|im_end|>", "<turn|>"):
            reply = reply.removesuffix(end)
        parsed = format.parse(encoded(name, reply))
        assert [(call.name, call.arguments, call.status) for call in parsed.calls] == [
            (called, arguments, CallStatus.OK) for called, arguments in calls
        ]
        assert [json.loads(json.dumps(call)) for call in parsed.message["tool_calls"]] == [
            {**each, "id": f"c{number:08}", "function": {"name": called, "arguments": arguments}}
            for number, (each, (called, arguments)) in enumerate(zip(written, calls, strict=True))
        ]
        assert parsed.message["content"] == ""

    holds()


PIECES = (
    *[
        "<tool_call>",
        "</tool_call>",
        "<function=add>",
        "<function=",
        "</function>",
        "<parameter=x>",
        "</parameter>",
        "<think>",
        "</think>",
        '"',
        ":",
        "{",
        "}",
        "[",
        "]",
        ",",
        ";",
        "1e999",
        "NaN",
        "\\ud800",
        "<|python_tag|>",
        "<|channel|>",
        "analysis",
        "<|message|>",
        "<|start|>assistant",
        "<|end|>",
        "<|call|>",
        "add",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
        "<arg_key>",
        "</arg_key>",
        "<arg_value>",
        "</arg_value>",
        "<|tool_call_start|>",
        "<|tool_call_end|>",
        "(x=1)",
        "add(**{})",
        "{1:2}",
        "<|tool_call>",
        "<tool_call|>",
        "call:add{",
        '<|"|>',
        "x:",
        "é",
    ],
    '{"name": "add", "arguments": {"x": 1}}',
    '{"name": "add"',
    '"parameters": ',
    "commentary to=functions.add",
    "(-1 .a)(x=f())",
    "\n```json\n",
    "\n```",
    "\x00",
    " ",
)


@pytest.mark.parametrize("name", CALL_FORMATS)
def test_no_text_raises(name):
    format = CALL_FORMATS[name]
    reader = Reader(format, None, by_name(TOOLS))

    @given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=12).map("".join))
    @example('<tool_call>{"name": "add", "arguments": ' + "[" * 100_000)
    @example("<|tool_call>call:add{x:" + "[" * 100_000 + "<tool_call|>")
    @example("<|tool_call_start|>[f(x=" + "[" * 10_000 + "<|tool_call_end|>")
    @example("<|tool_call_start|>[" + "a." * 5_000 + "f()]<|tool_call_end|>")
    @example("<|tool_call_start|>[f(x=" + "-" * 5_000 + "1)]<|tool_call_end|>")
    @example('{"name": "add", "parameters": {"x": ' + "9" * 5_000 + "}}")
    @settings(max_examples=150, deadline=None)
    def holds(text):
        calls = [*format.find(text)]
        edges = [edge for call in calls for edge in (call.start, call.end)]
        assert edges == sorted(edges)
        assert not edges or (edges[0] >= 0 and edges[-1] <= len(text))
        parsed = reader.read(text, "", 0)
        json.dumps([parsed.message, [call.arguments for call in parsed.calls]], allow_nan=False)
        for call in parsed.calls:
            assert (call.status is CallStatus.OK) == (call.problem == "")
            assert call.status is not CallStatus.OK or (call.name in ("add", "find") and "x" in call.arguments)

    holds()


# One by one ----------------------------------------------------------------------------------------------------------


def hermes(inside):
    return f"<tool_call>{inside}</tool_call>"


def xml(inside, name="add"):
    return f"</think><function={name}>{inside}</function>"


def lfm(inside):
    return f"<|tool_call_start|>{inside}<|tool_call_end|>"


def gemma(inside):
    return f"<|tool_call>{inside}<tool_call|>"


def harmony(inside, recipient="functions.add"):
    return f"<|channel|>commentary to={recipient}<|message|>{inside}"


ONE = "<parameter=x>1</parameter>"
PAIR = "<arg_key>x</arg_key><arg_value>1</arg_value>"
MALFORMED = [
    ("qwen3", hermes('{"name": "add", "arguments": [1]}'), "malformed_structure", "these are an array"),
    ("qwen3", hermes("3"), "malformed_structure", "this is an integer"),
    ("qwen3", hermes('{"name": "add", }'), "invalid_json", r"not valid JSON: .* at character"),
    ("qwen3", hermes('{"name": "ad", "arguments": {"x": 1}}'), "unknown_tool", r"mean 'add'.*: add, find"),
    ("qwen3", hermes('{"name": "add", "arguments": {}}'), "wrong_arguments", "'x' is missing"),
    ("qwen3", hermes('{"name": "add", "arguments": {"x": "\\ud800"}}'), "invalid_json", "half a character"),
    ("qwen3", hermes('{"name": "add", "arguments": {"x": 1e999}}'), "invalid_json", "not JSON compliant"),
    ("qwen3", hermes("{}"), "missing_name", "names no tool"),
    ("qwen3", '<tool_call>{"name": "add"', "unclosed_block", "not finished"),
    ("qwen3_6", xml(ONE + ONE), "malformed_structure", "given twice"),
    ("qwen3_6", xml("<parameter=>1</parameter>"), "malformed_structure", "has no name"),
    ("qwen3_6", xml("", name=""), "missing_name", "names no tool"),
    ("qwen3_6", xml("<parameter=x>one</parameter>"), "wrong_arguments", "be an integer; it is a string"),
    ("qwen3_6", xml("x"), "malformed_structure", "was expected"),
    ("qwen3_6", "</think><function=", "unclosed_block", "not finished"),
    ("llama3_1", '<|python_tag|>brave.call(query="x")', "invalid_json", "not valid JSON"),
    ("llama3_1", '<|python_tag|>{"name": "add"', "unclosed_block", "not finished"),
    ("deepseekv3", "</think><｜tool▁call▁begin｜>add<｜tool▁call▁end｜>", "malformed_structure", "must be a name"),
    ("glm4moe", hermes(""), "missing_name", "names no tool"),
    ("glm4moe", hermes("add\n<arg_key>x</arg_key>"), "malformed_structure", "was expected"),
    ("glm4moe", hermes("add" + PAIR + PAIR), "malformed_structure", "given twice"),
    ("glm4moe", hermes("add<arg_key></arg_key><arg_value>1</arg_value>"), "malformed_structure", "has no name"),
    ("lfm2", lfm("add(x=1"), "malformed_structure", "not a list of calls"),
    ("lfm2", lfm("[add(1)]"), "malformed_structure", "by name"),
    ("lfm2", lfm("[add(x=f())]"), "malformed_structure", "no literal"),
    ("lfm2", lfm("[3]"), "malformed_structure", "a name with named arguments"),
    ("lfm2", lfm("[f()(x=1)]"), "missing_name", "names no tool"),
    ("lfm2", lfm("[]"), "malformed_structure", "is empty"),
    ("lfm2", "<|tool_call_start|>[add(x=1", "unclosed_block", "not finished"),
    ("gemma4", gemma("add{x:1}"), "malformed_structure", "must begin with call:"),
    ("gemma4", gemma("call:{x:1}"), "missing_name", "names no tool"),
    ("gemma4", gemma("call:add{x 1}"), "malformed_structure", "a name and a colon was expected"),
    ("gemma4", gemma("call:add{x:1}y"), "malformed_structure", "the end was expected at 'y'"),
    ("gemma4", gemma('call:add{s:<|"|>a}'), "malformed_structure", "a text is not closed"),
    ("gemma4", gemma("call:add{x:[1 2]}"), "malformed_structure", "a comma or ] was expected"),
    ("gptoss", harmony('{"x": 1'), "unclosed_block", "not finished"),
    ("gptoss", harmony("{x: 1}"), "invalid_json", "not valid JSON"),
    ("gptoss", harmony("{}", recipient="functions."), "missing_name", "names no tool"),
    ("gptoss", harmony("{}", recipient="python"), "unknown_tool", "there is no tool 'python'"),
]


@pytest.mark.parametrize(("name", "text", "status", "problem"), MALFORMED)
def test_what_is_wrong_with_a_call_is_said(name, text, status, problem):
    call = (
        call_of(name, text)
        if "<tool_call>" not in text[-12:]
        else tool_format(name).parse(encoded(name, text)).calls[0]
    )
    assert str(call.status) == status
    assert re.search(problem.replace("]", r"\]"), call.problem)
    assert call.raw.strip() in text


HEADERS = (
    "to=functions.add <|constrain|>json<|message|>",
    " to=functions.add<|channel|>commentary json<|message|>",
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.add<|message|>",
)


@pytest.mark.parametrize("header", HEADERS)
def test_harmony_headers_are_read_in_every_order(header):
    parsed = tool_format("gptoss").parse(encoded("gptoss", header + '{"x": 1}<|call|>'))
    assert [(call.name, call.arguments) for call in parsed.calls] == [("add", {"x": 1})]
    assert parsed.message["content"] == ""


def test_harmony_messages_are_thinking_preamble_and_answer():
    text = (
        "<|channel|>analysis<|message|>first<|end|><|start|>assistant<|channel|>commentary<|message|>I look<|end|>"
        "<|start|>assistant<|channel|>analysis<|message|>then<|end|><|start|>assistant<|channel|>final<|message|>42"
    )
    message = tool_format("gptoss").parse(encoded("gptoss", text)).message
    assert message == {"role": "assistant", "content": "I look\n42", "reasoning_content": "first\nthen"}
    assert tool_format("gptoss").parse(encoded("gptoss", "no header")).message["content"] == "no header"


def test_gptoss_replies_are_read_by_their_format_without_tools():
    format = ReplyFormat.of(family_tokenizer("gptoss"), template=ChatTemplate(), end_ids=end_ids("gptoss"))
    reply = encoded("gptoss", "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>42")
    assert format.parse(reply).message["content"] == "42"


def test_text_around_calls_is_content_and_ids_are_distinct():
    good = CALLS["qwen3"][0]
    parsed = tool_format("qwen3").parse(encoded("qwen3", f"<think>\nhm\n</think>\n\nfirst {good}{good} last"), turn=7)
    assert parsed.message["content"] == "first  last"
    assert parsed.message["reasoning_content"] == "hm"
    assert [call.id for call in parsed.calls] == ["c00070000", "c00070001"]
    assert [call["id"] for call in parsed.message["tool_calls"]] == ["c00070000", "c00070001"]


def test_special_tokens_are_no_part_of_what_is_said():
    reply = "<|im_start|>first<|vision_end|> <tool_call>{]</tool_call> last<|im_end|>"
    assert tool_format("qwen3").parse(encoded("qwen3", reply)).message["content"] == "first  last"
    assert plain_format("smollm2").parse(encoded("smollm2", "<|im_start|> a b<|im_end|>")).message["content"] == " a b"


def test_a_call_that_names_a_tool_is_in_the_message_even_if_it_cannot_be_made():
    text = '<tool_call>{"name": "nope", "arguments": {"x": 3}}</tool_call><tool_call>{]</tool_call>'
    parsed = tool_format("qwen3").parse(encoded("qwen3", text))
    assert [call["function"]["name"] for call in parsed.message["tool_calls"]] == ["nope"]
    assert len(parsed.calls) == 2


def test_calls_within_closed_thinking_are_thoughts_and_unclosed_thinking_ends_at_a_call():
    good = CALLS["qwen3"][0]
    assert read("qwen3", f"<think>{good}</think>no") == []
    for reply in (f"<think>hm{good}", "<tool_call>" + good.removeprefix("<tool_call>").replace("a b", "</think> b")):
        (call,) = tool_format("qwen3").parse(encoded("qwen3", reply)).calls
        assert call.status is CallStatus.OK


def test_json_that_is_no_call_is_an_answer():
    for text in ('{"x": 3}', "[1, 2]", '{"name": "Bob", "age": 3}', 'I say {"name": "add", "parameters": {"x": 1}}'):
        parsed = tool_format("llama3_1").parse(encoded("llama3_1", text))
        assert (parsed.message["content"], parsed.calls) == (text, ())


def test_without_tools_nothing_is_a_call_unless_a_format_is_named():
    reply = encoded("qwen3", '<tool_call>{"name": "any", "arguments": {"y": 3}}</tool_call>')
    tokenizer, options = family_tokenizer("qwen3"), {"template": ChatTemplate(), "end_ids": end_ids("qwen3")}
    assert ReplyFormat.of(tokenizer, **options).parse(reply).calls == ()
    (call,) = ReplyFormat.of(tokenizer, call_format="hermes", **options).parse(reply).calls
    assert (call.name, call.status) == ("any", CallStatus.OK)


def test_values_without_a_schema_are_what_they_look_like():
    format = ReplyFormat.of(
        family_tokenizer("qwen3_6"), template=ChatTemplate(), call_format="function-xml", end_ids=end_ids("qwen3_6")
    )
    text = xml("<parameter=a>3</parameter><parameter=b>b c</parameter><parameter=c>True</parameter>", name="f")
    (call,) = format.parse(encoded("qwen3_6", text)).calls
    assert call.arguments == {"a": 3, "b": "b c", "c": True}


def test_an_unknown_call_format_is_refused_with_near_names():
    with pytest.raises(ConfigError, match=r"call format 'herms'; did you mean 'hermes'\?; known: auto, hermes, fun"):
        ReplyFormat.of(family_tokenizer("qwen3"), template=ChatTemplate(), call_format="herms", end_ids=())


def test_a_template_that_does_not_show_how_to_call_is_refused():
    source = "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}{{ tools | tojson }}"
    with pytest.raises(ConfigError, match=r"not show how its model calls tools; give one of hermes, .* `call_format`"):
        ReplyFormat.of(family_tokenizer("smollm2"), template=ChatTemplate(source), tools=TOOLS, end_ids=())
    format = ReplyFormat.of(
        family_tokenizer("smollm2"), template=ChatTemplate(source), tools=TOOLS, call_format="hermes", end_ids=()
    )
    assert format.parse(encoded("smollm2", CALLS["qwen3"][0])).calls[0].status is CallStatus.OK
