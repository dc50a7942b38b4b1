"""Records what the package `renderers` answers to the cases below, in `renderers.json` beside this file.

It needs an environment of its own, for it brings openai and others with it; from the root of the repository:

    python -m pip install --target .oracle --no-deps renderers==0.1.12 httpx httpcore h11 anyio sniffio openai \
        openai-harmony tiktoken prime-pydantic-config jiter distro pydantic pydantic-core annotated-types \
        typing-inspection
    PYTHONPATH=.oracle:tests/conversation python tests/conversation/oracle/renderers_oracle.py

Tokens are recorded by their texts, so that the table does not hang on how the vocabulary of the tests was numbered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chat_families import family_tokenizer

RENDERERS = {
    "qwen3": "qwen3",
    "qwen3_5_think": "qwen3.5",
    "qwen3_6": "qwen3.6",
    "qwen3_8": "qwen3.8",
    "llama3_1": "llama-3",
    "llama3_2": "llama-3",
    "nemotron_3_nano": "nemotron-3",
    "gemma4": "gemma4",
    "glm4moe": "glm-4.5",
    "deepseekv3": "deepseek-v3",
    "deepseek_r1_distill": "deepseek-r1",
}
"""Name of a template -> the renderer of its model."""

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Adds.",
            "parameters": {
                "type": "object",
                "properties": {
                    "x": {"type": "integer", "description": "a number"},
                    "s": {"type": "string", "description": "a text"},
                    "l": {"type": "array", "items": {"type": "integer"}, "description": "numbers"},
                },
                "required": ["x"],
            },
        },
    }
    for name in ("add", "find")
]


def _tool(number: int, content: str) -> dict[str, Any]:
    return {"role": "tool", "name": "add", "tool_call_id": f"call00{number:03}", "content": content}


MESSAGES: dict[str, list[dict[str, Any]]] = {
    "user": [{"role": "user", "content": "and now?"}],
    "tool": [_tool(0, "42")],
    "object": [_tool(0, '{"sum": 42}\n')],
    "two tools": [_tool(0, "42"), _tool(1, "sunny, in Paris")],
    "tool and user": [_tool(0, "42"), {"role": "user", "content": "go on"}],
}

_THOUGHT, _OPEN = "<think>\nhm\n</think>\n\n", "<think>\nhm"
REPLIES: dict[str, dict[str, tuple[str, ...]]] = {
    "qwen3": {"<|im_end|>": ("it is 42", _THOUGHT + "it is 42"), "": ("it is 4", _OPEN)},
    "qwen3_5_think": {"<|im_end|>": ("hm\n</think>\n\nit is 42",), "": ("hm\n</think>\n\nit is", "hm")},
    "qwen3_6": {"<|im_end|>": ("hm\n</think>\n\nit is 42",), "": ("hm\n</think>\n\nit is", "hm")},
    "qwen3_8": {"<|im_end|>": ("hm\n</think>\n\nit is 42",), "": ("hm\n</think>\n\nit is", "hm")},
    "nemotron_3_nano": {"<|im_end|>": ("hm\n</think>\n\nit is 42",), "": ("hm\n</think>\n\nit is", "hm")},
    "llama3_1": {"<|eot_id|>": ("it is 42",), "<|eom_id|>": ("it is 42",), "": ("it is",)},
    "llama3_2": {"<|eot_id|>": ("it is 42",), "": ("it is",)},
    "gemma4": {
        "<turn|>": ("it is 42",),
        "<|tool_response>": ("<|tool_call>call:add{x:1}<tool_call|>",),
        "": ("it is",),
    },
    "glm4moe": {"<|user|>": ("<think>hm</think>\nit",), "<|observation|>": ("<think></think>\nit",), "": ("it", _OPEN)},
    "deepseekv3": {"<｜end▁of▁sentence｜>": ("hm</think>it is 42",), "": ("hm</think>it is",)},
    "deepseek_r1_distill": {"<｜end▁of▁sentence｜>": ("hm</think>it is 42",), "": ("hm</think>it is",)},
}
"""Name of a template -> end token, empty for a reply that was cut -> replies."""

_HERMES = (
    '<tool_call>\n{"name": "add", "arguments": {"x": 3, "s": "a b", "l": [1, 2]}}\n</tool_call>',
    'so <tool_call>{"name": "add", "arguments": {"x": 3}}</tool_call>\n'
    '<tool_call>{"name": "find", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": {"x": 3}</tool_call>',
    '<tool_call>{"name": "add", "arguments": {"x": 3',
    '<tool_call>{"arguments": {"x": 3}}</tool_call>',
    '<tool_call>{"name": "", "arguments": {"x": 3}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": [3]}</tool_call>',
    '<tool_call>{"name": "add", "arguments": "{\\"x\\": 3}"}</tool_call>',
    '<tool_call>["add"]</tool_call>',
    "<tool_call></tool_call>",
    '<tool_call>{"name": "add"}</tool_call>',
    '<tool_call>{"name": "add", "arguments": {"x": NaN}}</tool_call>',
    '<tool_call>no</tool_call><tool_call>{"name": "add", "arguments": {"x": 3}}</tool_call>',
    '<tool_call>{"name": "nope", "arguments": {"x": 3}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": {"s": "a </tool_call> b", "x": 1}}</tool_call>',
    '<think>\n<tool_call>{"name": "add", "arguments": {"x": 3}}</tool_call>\n</think>\n\nno call',
    '<think>\nhm\n<tool_call>{"name": "add", "arguments": {"x": 3}}</tool_call>',
    "no call at all",
    "",
)


def _xml(*parameters: tuple[str, str], name: str = "add") -> str:
    inside = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in parameters)
    return f"<tool_call>\n<function={name}>\n{inside}</function>\n</tool_call>"


_XML = tuple(
    "</think>\n\n" + text
    for text in (
        _xml(("x", "3"), ("s", "a b"), ("l", "[1, 2]")),
        _xml(("x", "3")) + "\n" + _xml(name="find"),
        _xml(("x", "three")),
        _xml(("s", "3"), ("x", "3")),
        _xml(("x", "3"), name="nope"),
        _xml(("x", "3")).removesuffix("</tool_call>"),
        "<tool_call>\n<function=add>\n<parameter=x>\n3",
        "<tool_call>\nadd\n</tool_call>",
        "<tool_call>\n</tool_call>" + _xml(("x", "3")),
        "no call",
    )
)
_LLAMA = (
    '{"name": "add", "parameters": {"x": 3, "s": "a b"}}',
    '{"name": "add", "arguments": {"x": 3}}',
    '{"name": "add", "parameters": {"x": 3}',
    '{"name": "add", "parameters": [3]}',
    '{"x": 3}',
    '<|python_tag|>{"name": "add", "parameters": {"x": 3}}',
    '{"name": "add", "parameters": {"x": 3}}; {"name": "find", "parameters": {}}',
    'I call {"name": "add", "parameters": {"x": 3}}',
)


def _deepseek(*calls: str) -> str:
    inside = "\n".join(f"<｜tool▁call▁begin｜>{call}<｜tool▁call▁end｜>" for call in calls)
    return f"</think><｜tool▁calls▁begin｜>{inside}<｜tool▁calls▁end｜>"


_DEEPSEEK = (
    _deepseek('function<｜tool▁sep｜>add\n```json\n{"x": 3, "s": "a b"}\n```'),
    _deepseek('function<｜tool▁sep｜>add\n```json\n{"x": 3}\n```', "function<｜tool▁sep｜>find\n```json\n{}\n```"),
    _deepseek('function<｜tool▁sep｜>add\n```json\n{"x": 3\n```'),
    _deepseek("function<｜tool▁sep｜>add\n```json\n[3]\n```"),
    _deepseek('function<｜tool▁sep｜>\n```json\n{"x": 3}\n```'),
    '</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"x": 3',
    "</think>no call",
)


def _glm(name: str, *pairs: tuple[str, str]) -> str:
    inside = "".join(f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in pairs)
    return f"<tool_call>{name}\n{inside}</tool_call>"


_GLM = tuple(
    "\n<think></think>\n" + text
    for text in (
        _glm("add", ("x", "3"), ("s", "a b"), ("l", "[1, 2]")),
        _glm("add", ("x", "3")) + "\n" + _glm("find"),
        _glm("add", ("x", "three")),
        _glm("nope", ("x", "3")),
        _glm("", ("x", "3")),
        "<tool_call>add\n<arg_key>x</arg_key>\n<arg_value>3",
        "<tool_call>add\n<arg_key>x</arg_key>\n</tool_call>",
        "no call",
    )
)
_GEMMA = (
    '<|tool_call>call:add{l:[1,2],s:<|"|>a b<|"|>,x:3}<tool_call|>',
    "<|tool_call>call:add{x:3}<tool_call|><|tool_call>call:find{}<tool_call|>",
    "<|tool_call>call:add{x:3<tool_call|>",
    "<|tool_call>call:add{x:3",
    "<|tool_call>add<tool_call|>",
    "no call",
)
CALLS: dict[str, tuple[str, ...]] = {
    "qwen3": _HERMES,
    "qwen3_5_think": _XML,
    "nemotron_3_nano": _XML,
    "llama3_1": _LLAMA,
    "deepseekv3": _DEEPSEEK,
    "glm4moe": _GLM,
    "gemma4": _GEMMA,
}
"""Name of a template -> replies that call tools, well and badly."""


def encoded(name: str, text: str) -> list[int]:
    return list(family_tokenizer(name)(text, add_special_tokens=False)["input_ids"])


def bridges(name: str) -> Iterator[tuple[str, list[int], list[dict[str, Any]]]]:
    """What identifies a case, the reply, and the messages after it."""
    for end, replies in REPLIES[name].items():
        for reply in replies:
            for kind, messages in MESSAGES.items():
                yield f"{reply}{end} | {kind}", encoded(name, reply + end), messages


def opening(name: str) -> list[int]:
    text = family_tokenizer(name).apply_chat_template(
        [{"role": "user", "content": "u"}], tokenize=False, add_generation_prompt=True
    )
    return encoded(name, text)


def record() -> dict[str, Any]:
    import renderers
    from renderers import configs

    kinds = {
        kind.model_fields["name"].default: kind
        for kind in vars(configs).values()
        if isinstance(kind, type) and issubclass(kind, configs.BaseRendererConfig) and "name" in kind.model_fields
    }
    table: dict[str, Any] = {"bridges": {}, "calls": {}}
    for name, kind in RENDERERS.items():
        tokenizer = family_tokenizer(name)
        renderer = renderers.create_renderer(tokenizer, kinds[kind](thinking_retention="all"))
        prompt = opening(name)
        answers = table["bridges"].setdefault(name, {})
        for case, reply, messages in bridges(name):
            found = renderer.bridge_to_next_turn(prompt, reply, messages, tools=TOOLS)
            ids = None if found is None else list(found.token_ids)
            if ids is not None:
                assert ids[: len(prompt) + len(reply)] == prompt + reply, (name, case)
            tokens = ids and tokenizer.convert_ids_to_tokens(ids[len(prompt) + len(reply) :])
            answers[case] = tokens and " ".join(tokens)
        for text in CALLS.get(name, ()):
            parsed = renderer.parse_response(encoded(name, text), prompt_ids=prompt, tools=TOOLS)
            table["calls"].setdefault(name, {})[text] = {
                "content": parsed.content,
                "reasoning": parsed.reasoning_content,
                "calls": [[call.name, call.arguments, str(call.status.value)] for call in parsed.tool_calls or ()],
            }
    return table


if __name__ == "__main__":
    target = Path(__file__).with_name("renderers.json")
    target.write_text(json.dumps(record(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
