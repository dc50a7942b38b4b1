"""What becomes of chats and of text: compared with what transformers itself renders."""

from __future__ import annotations

import copy
import json
import logging

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from morl.errors import ConfigError, DataError
from morl.prompts import ChatTemplate, encode_prompts
from morl.types import Prompt

CHATML = (
    "{%- if tools %}{{ '#system ' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '|\n' }}{% endif %}"
    "{%- for message in messages %}"
    "{%- if message.tool_calls %}{{ '#' + message.role + ' ' }}{% if message.content %}{{ message.content }}{% endif %}"
    "{{ message.tool_calls | tojson }}{{ '|\n' }}"
    "{%- else %}{{ '#' + message.role + ' ' + message.content + '|\n' }}{% endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '#assistant ' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think></think>' }}{% endif %}{% endif %}"
)
TRIMMING = (  # as Llama 3: a beginning of its own, and contents without the spaces around them
    "{{ bos_token }}{% for message in messages %}{{ '#' + message.role + '\n\n' + message.content | trim + '|' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '#assistant\n\n' }}{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
USER = {"role": "user", "content": "2+2?"}


@pytest.fixture(params=[CHATML, TRIMMING], ids=["plain", "trimming"])
def chatty(request, tokenizer) -> PreTrainedTokenizerFast:
    made = copy.deepcopy(tokenizer)
    made.chat_template = request.param
    return made


@pytest.fixture
def chatml(tokenizer) -> PreTrainedTokenizerFast:
    made = copy.deepcopy(tokenizer)
    made.chat_template = CHATML
    return made


def ending(tokenizer, before="", after=""):
    """The same tokenizer with other special tokens around a text."""
    made = copy.deepcopy(tokenizer)
    made.add_special_tokens({"eos_token": "</s>"})
    tokens = [("<s>", made.bos_token_id), ("</s>", made.eos_token_id)]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{before} $A {after}".strip(), special_tokens=tokens
    )
    return made


# Text -----------------------------------------------------------------------------------------------------------------


def test_a_text_that_begins_with_its_beginning_gets_no_second_one(tokenizer):
    rendered = copy.deepcopy(tokenizer)
    rendered.chat_template = TRIMMING
    wanted = rendered.apply_chat_template([USER], add_generation_prompt=True, return_dict=False)
    text = rendered.apply_chat_template([USER], add_generation_prompt=True, tokenize=False)
    assert rendered(text)["input_ids"][:2] == [1, 1]  # what the tokenizer does of its own accord
    for prompt in (Prompt(text), Prompt([USER]), Prompt(text.removeprefix("<s>"))):
        assert list(encode_prompts([prompt], rendered)[0].token_ids) == wanted


@pytest.mark.parametrize(("before", "after"), [("", "</s>"), ("<s>", "</s>"), ("<s>", ""), ("<s> <s>", "")])
def test_what_a_tokenizer_puts_behind_a_text_is_left_out(tokenizer, before, after):
    made = ending(tokenizer, before, after)
    bare = made("ab", add_special_tokens=False)["input_ids"]
    wanted = [made.bos_token_id] * before.count("<s>") + bare
    assert list(encode_prompts([Prompt("ab")], made)[0].token_ids) == wanted
    # An end that stands in the text is the user's.
    assert encode_prompts([Prompt("ab</s>")], made)[0].token_ids == (*wanted, made.eos_token_id)


def test_a_rendered_chat_inside_a_chat_is_warned_of(tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        encode_prompts([Prompt([USER])], tokenizer)
        assert not caplog.text
        encode_prompts([Prompt([{"role": "user", "content": "<s>[user]2+2?[assistant]"}])], tokenizer)
    assert "a message of row 0 begins with the special token <s>, as if" in caplog.text


def test_of_rendered_chats_the_first_row_need_not_be_one(tokenizer, caplog):
    ours, system = Prompt([USER]), {"role": "system", "content": " <s>[system]Be brief."}
    with caplog.at_level(logging.WARNING):
        encode_prompts([ours, Prompt([USER, {"role": "assistant", "content": "<s>4"}, USER])], tokenizer)
        assert not caplog.text, "an assistant's words are the policy's"
        encode_prompts([ours, Prompt(None), Prompt(["?"]), Prompt([system, USER])], tokenizer)
    assert "a message of row 3 begins with the special token <s>, as in 1 of the first 4 rows, as if" in caplog.text


# The assistant's turn -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["The answer", "It is ", "2+2?"])
def test_an_assistants_words_at_the_end_are_continued(chatty, words):
    messages = [USER, {"role": "assistant", "content": words}]
    wanted = chatty.apply_chat_template(messages, continue_final_message=True, return_dict=False)
    encoded = encode_prompts([Prompt(messages)], chatty)[0]
    assert list(encoded.token_ids) == wanted
    assert encoded.text.rstrip().endswith(words.strip())
    parts = [{"type": "text", "text": words[:2]}, {"type": "text", "text": words[2:]}]
    assert list(encode_prompts([Prompt([USER, {**messages[1], "content": parts}])], chatty)[0].token_ids) == wanted


def test_an_assistants_turn_without_words_is_open(chatty):
    messages = [USER, {"role": "assistant", "content": ""}]
    wanted = chatty.apply_chat_template([USER], add_generation_prompt=True, return_dict=False)
    assert list(encode_prompts([Prompt(messages)], chatty)[0].token_ids) == wanted


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({"role": "assistant", "content": " \n"}, "row 0 ends with an assistant's message of nothing but spaces"),
        ({"role": "assistant", "content": "x", "tool_calls": [1]}, "row 0 ends with an assistant's message that calls"),
        ({"role": "assistant", "content": None, "tool_calls": [1]}, "row 0 ends with .* that calls tools or has no"),
    ],
)
def test_an_end_that_cannot_be_continued_is_refused(chatty, last, message):
    with pytest.raises(DataError, match=message):
        encode_prompts([Prompt([USER, last])], chatty)


def test_calls_without_content_are_rendered_without_the_word_none(chatml):
    calls = [{"type": "function", "function": {"name": "f", "arguments": {}}}]
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": calls}, {"role": "tool", "content": "21"}]
    for template in (
        CHATML,
        CHATML.replace("{% if message.content %}{{ message.content }}{% endif %}", "{{ message.content }}"),
    ):
        chatml.chat_template = template
        text = encode_prompts([Prompt(messages)], chatml)[0].text
        assert text == f"#user 2+2?|\n#assistant {json.dumps(calls)}|\n#tool 21|\n#assistant "


# What the template is given -------------------------------------------------------------------------------------------


def test_arguments_tools_and_a_template_of_ones_own(chatml, tokenizer):
    rows = [
        Prompt([USER], {"tools": [TOOL], "arguments": None}),
        Prompt([USER], {"tools": json.dumps([TOOL]), "arguments": '{"enable_thinking": true}'}),
        Prompt([USER], {"tools": None, "arguments": {"enable_thinking": None}}),
        Prompt([USER], {"tools": [], "arguments": ""}),
    ]
    template = ChatTemplate(None, {"enable_thinking": False}, "tools", "arguments")
    encoded = encode_prompts(rows, chatml, template=template)
    for row, (tools, thinking) in enumerate([([TOOL], False), ([TOOL], True), (None, False), (None, False)]):
        wanted = chatml.apply_chat_template(
            [USER], tools=tools, enable_thinking=thinking, add_generation_prompt=True, return_dict=False
        )
        assert list(encoded[row].token_ids) == wanted
    # The same from a file's text, for a tokenizer with another template, and for one without any.
    for other in (tokenizer, copy.deepcopy(tokenizer)):
        if other is not tokenizer:
            other.chat_template = None
        own = ChatTemplate(CHATML, {"enable_thinking": False}, "tools", "arguments")
        assert [each.text for each in encode_prompts(rows, other, template=own)] == [each.text for each in encoded]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"arguments": {"enable_thinkin": False}}, ConfigError,
         "chat_template_kwargs: the chat template does not look at 'enable_thinkin'; did you mean 'enable_thinking'"),
        ({"arguments": {"tools": []}}, ConfigError, "must not contain 'tools': name their column in `tools_column`"),
        ({"arguments": {"tokenize": True}}, ConfigError, "must not contain 'tokenize'"),
        ({"source": "{% if %}"}, DataError, "refuses the prompt of row 0: TemplateSyntaxError"),
        ({"source": "{% if %}", "arguments": {"x": 1}}, ConfigError, "the chat template cannot be read"),
        ({"tools_column": "tols"}, DataError, "no column 'tols', which `tools_column` names; did you mean 'tools'"),
        ({"tools_column": "text"}, DataError, "column 'text' holds text that is not JSON"),
        ({"tools_column": "number"}, DataError, "column 'number' must hold a list of tools"),
        ({"arguments_column": "number"}, DataError, "column 'number' must hold an object of arguments"),
        ({"arguments_column": "typo"}, DataError, "row 0: column 'typo': the chat template does not look"),
        ({"source": "{{ messages[0].content }}", "tools_column": "tools"}, DataError,
         r"leaves out the tools of the prompt of row 0 \(weather\)"),
    ],
)  # fmt: skip
def test_what_the_template_cannot_use_is_refused(chatml, options, error, message):
    columns = {"tools": [TOOL], "text": "weather", "number": 3, "typo": {"thinking": False}}
    with pytest.raises(error, match=message):
        encode_prompts([Prompt([USER], columns)], chatml, template=ChatTemplate(**options))


def test_options_of_the_template_mean_nothing_for_text(chatml):
    with pytest.raises(ConfigError, match="have no effect on prompts that are text; set `chat: true`"):
        encode_prompts([Prompt("2+2?")], chatml, template=ChatTemplate(arguments={"enable_thinking": False}))
