"""What chat templates do to a conversation is said, and what cannot work is refused."""

from __future__ import annotations

import warnings

import pytest
from chat_families import TEMPLATES, end_ids, family_tokenizer
from reply_formats import TOOLS, plain_format, tool_format

from morl.conversation import ReplyFormat
from morl.conversation.bridge import Bridge
from morl.conversation.check import history
from morl.errors import ConfigError
from morl.prompts import ChatTemplate

KEPT, DROPPED, REWRITTEN, REFUSED, LEFT_OUT = (
    "kept",
    "leaves out the thinking",
    "rewrites",
    "refuses",
    "leaves out a message",
)

# results of tools, messages of the user, thinking through tools, thinking through the user
NO_FIELD = (KEPT, KEPT, DROPPED, DROPPED)
"""Templates that know no thinking leave it out."""
UNTIL_THE_USER = (KEPT, KEPT, KEPT, DROPPED)
DONE_TO_HISTORY = {
    "smollm2": NO_FIELD,
    "qwen2_5": NO_FIELD,
    "qwen3_instruct_2507": NO_FIELD,
    "llama3": NO_FIELD,
    "llama3_1": NO_FIELD,
    "llama3_2": NO_FIELD,
    "lfm2": NO_FIELD,
    "qwen3": UNTIL_THE_USER,
    "gemma4": UNTIL_THE_USER,
    "glm4moe": UNTIL_THE_USER,
    "gptoss": UNTIL_THE_USER,
    "lfm2_2_5": UNTIL_THE_USER,
    "qwen3_5_think": (KEPT, REWRITTEN, KEPT, DROPPED),
    "qwen3_6": (KEPT, REWRITTEN, KEPT, DROPPED),
    "qwen3_5_nothink": (KEPT, REWRITTEN, REWRITTEN, DROPPED),
    "qwen3_8": (KEPT, KEPT, KEPT, KEPT),
    "nemotron_3_nano": (REWRITTEN, REWRITTEN, KEPT, DROPPED),
    "deepseekv3": (REWRITTEN, REWRITTEN, DROPPED, DROPPED),
    "deepseek_r1_distill": (REWRITTEN, REWRITTEN, DROPPED, DROPPED),
    "gemma": (REFUSED, KEPT, REFUSED, DROPPED),
    "gemma3": (REFUSED, KEPT, REFUSED, DROPPED),
    "phi3": (LEFT_OUT, KEPT, LEFT_OUT, DROPPED),
    "phi3_5": (LEFT_OUT, KEPT, LEFT_OUT, DROPPED),
    "cohere2": (LEFT_OUT, KEPT, LEFT_OUT, DROPPED),
}
WRITES_NO_TOOLS = [
    "smollm2",
    "llama3",
    "gemma",
    "gemma3",
    "phi3",
    "phi3_5",
    "cohere2",
    "deepseekv3",
    "deepseek_r1_distill",
]


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_templates_do_to_history(name):
    bridge = Bridge(family_tokenizer(name), ChatTemplate(), tuple(TOOLS), end_ids(name))
    cases = [(("tool", "tool"), ""), (("user", "user"), ""), (("tool", "tool"), "hm!"), (("user", "user"), "hm!")]
    found = [history(bridge, kinds, thought) for kinds, thought in cases]
    words = tuple(each.refused or each.changed or KEPT for each in found)
    for said, wanted in zip(words, DONE_TO_HISTORY[name], strict=True):
        assert said.startswith(wanted)


@pytest.mark.parametrize("name", TEMPLATES)
def test_tools_that_the_template_does_not_write_are_refused(name):
    if name not in WRITES_NO_TOOLS:
        assert tool_format(name)
        return
    with pytest.raises(
        ConfigError, match=rf"'{name}' leaves out the tools \(add, find\), without an error; give a templ"
    ):
        ReplyFormat.of(family_tokenizer(name), template=ChatTemplate(), tools=TOOLS, end_ids=end_ids(name))


def test_a_template_that_raises_on_tools_is_refused():
    source = (
        "{% if tools %}{{ raise_exception('no tools here') }}{% endif %}" + family_tokenizer("smollm2").chat_template
    )
    with pytest.raises(ConfigError, match=r"refuses the tools \(TemplateError: no tools here\)"):
        ReplyFormat.of(family_tokenizer("smollm2"), template=ChatTemplate(source), tools=TOOLS, end_ids=())


WRITES_TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}"


@pytest.mark.parametrize(
    ("name", "why"),
    [("gemma3", r"refuses .*roles must alternate"), ("phi3", "leaves out a message of the role 'tool'")],
)
def test_tools_whose_results_the_template_cannot_take_are_refused_with_the_choices(name, why):
    source = WRITES_TOOLS + family_tokenizer(name).chat_template
    with pytest.raises(
        ConfigError, match=rf"{why}.*; give a template that writes results .* answers with messages of the"
    ):
        ReplyFormat.of(family_tokenizer(name), template=ChatTemplate(source), tools=TOOLS, end_ids=end_ids(name))


def test_a_template_of_one_turn_is_refused():
    source = "{% if messages | length > 1 %}{{ raise_exception('one message') }}{% endif %}{{ messages[0].content }}"
    with pytest.raises(
        ConfigError, match=r"refuses a message of the role 'user' \(TemplateError: one message\); give anoth"
    ):
        ReplyFormat.of(family_tokenizer("smollm2"), template=ChatTemplate(source), end_ids=())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("smollm2", []),
        ("qwen3_8", []),
        ("qwen3", ["leaves out the thinking before a message of the role 'user'"]),
        (
            "nemotron_3_nano",
            ["rewrites what stands before a message of the role 'user'", "leaves out the thinking before"],
        ),
        ("gptoss", ["leaves out the thinking before a message of the role 'user'"]),
    ],
)
def test_what_a_template_would_write_in_another_way_is_said(name, changes):
    said = plain_format(name).changes()
    assert len(said) == len(changes)
    for sentence, change in zip(said, changes, strict=True):
        assert change in sentence
        assert "in training nothing is rewritten" in sentence


def test_variables_of_the_template_change_what_is_said():
    tokenizer, ends = family_tokenizer("qwen3_8"), end_ids("qwen3_8")
    assert ReplyFormat.of(tokenizer, template=ChatTemplate(), tools=TOOLS, end_ids=ends).changes() == ()
    off = ReplyFormat.of(
        tokenizer, template=ChatTemplate(arguments={"enable_thinking": False}), tools=TOOLS, end_ids=ends
    )
    assert isinstance(off.changes(), tuple)


def test_a_call_format_that_is_not_the_templates_is_told():
    def named(call_format):
        tokenizer, ends = family_tokenizer("qwen3"), end_ids("qwen3")
        return ReplyFormat.of(tokenizer, template=ChatTemplate(), tools=TOOLS, call_format=call_format, end_ids=ends)

    with pytest.warns(UserWarning, match="calls are read as harmony, but the chat template writes them as hermes"):
        named("harmony")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named("hermes")
