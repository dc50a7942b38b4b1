"""How chat messages become text: the chat template, and what it is given besides the messages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import jinja2
import jinja2.meta
from attrs import field, frozen

from morl.errors import ConfigError, DataError, suggest
from morl.prompts.messages import chat_messages, without_nulls
from morl.prompts.special_tokens import Hidden, SpecialTokens
from morl.texts import texts_in
from morl.types import Message, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

_OWN = {
    "tools": "name their column in `tools_column`",
    "messages": "they are the prompt",
    "conversation": "it is the prompt",
    "chat_template": "give the file as `chat_template`",
    "add_generation_prompt": "morl asks for it wherever a prompt does not end with the assistant's turn",
    "continue_final_message": "morl asks for it wherever a prompt ends with the assistant's turn",
    "tokenize": "morl tokenizes the text",
    "return_dict": "morl tokenizes the text",
    "return_tensors": "morl tokenizes the text",
    "return_assistant_tokens_mask": "completions are sampled, not rendered",
    "tokenizer_kwargs": "morl tokenizes the text",
    "padding": "prompts are not padded",
    "truncation": "prompts are not cut; see `on_long`",
    "max_length": "see `max_prompt_tokens`",
}
"""Arguments of `apply_chat_template` that are not the user's -> what to do."""

_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
"""A tag of transformers' that plain Jinja does not know."""


@frozen(eq=False)
class ChatTemplate:
    """What the tokenizer's chat template is given besides the messages.

    Attributes:
        source: text of another template than the tokenizer's own.
        arguments: variables of the template, for all rows.
        tools_column: column with the tools that a row offers: a list of JSON schemas, or its JSON text.
        arguments_column: column with further arguments of a row, which override `arguments`; an object or JSON text.
        special_tokens: what the text of a special token in a row is: `keep` makes a token of it, `text` keeps it text,
            `refuse` ends the run.
    """

    source: str | None = None
    arguments: Mapping[str, Any] = field(factory=dict)
    tools_column: str | None = None
    arguments_column: str | None = None
    special_tokens: Literal["keep", "text", "refuse"] = "keep"

    @property
    def is_plain(self) -> bool:
        """Whether the template is given nothing besides the messages."""
        return not (self.source or self.arguments or self.tools_column or self.arguments_column)

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuses arguments that the template does not look at.

        Raises:
            ConfigError: an argument without effect, with near names of those that have one; a template with an error.
        """
        try:
            self._check_arguments(self.arguments, tokenizer, "chat_template_kwargs")
        except DataError as error:
            raise ConfigError(str(error)) from None

    def of_row(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase, row: int) -> tuple[ChatTemplate, list[Any]]:
        """What the template is given for one row: its own arguments among those of all, and the tools of its column.

        Raises:
            DataError: a column that is not there, or holds something else.
        """
        where = f"the prompt of row {row}"
        arguments = {**self.arguments, **self._own_arguments(prompt, tokenizer, where)}
        return ChatTemplate(self.source, arguments, special_tokens=self.special_tokens), self._tools(
            prompt, where
        ) or []

    def render(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase, row: int) -> str:
        """The text of a prompt of chat messages, as `render_hidden`, with everything in its place."""
        text, hidden = self.render_hidden(prompt, tokenizer, row)
        return hidden.restore(text)

    def render_hidden(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase, row: int) -> tuple[str, Hidden]:
        """The text of a prompt of chat messages, up to where the policy goes on, and what is hidden in it.

        The assistant's turn is opened; where the messages end with one, it is left open after its text.

        Raises:
            DataError: no template, or one that refuses the messages or leaves the tools out; names the row.
        """
        where = f"the prompt of row {row}"
        messages = chat_messages(prompt.content, "prompt", where)
        if self.source is None and tokenizer.chat_template is None:
            raise DataError(
                f"{where} is a chat, but the tokenizer {tokenizer.name_or_path!r} has no chat template; use an"
                " instruction-tuned model, give a template's file as `chat_template`, or use text prompts"
            )
        own = self._own_arguments(prompt, tokenizer, where)
        tools = self._tools(prompt, where)
        (messages, tools, own), hidden = self.guarded((messages, tools, own), tokenizer, where)
        arguments = {**self.arguments, **own}
        continued = _is_continued(messages, where)
        if messages[-1]["role"] == "assistant" and not continued:
            messages = messages[:-1]
        text = self._apply(tokenizer, messages, tools, continued, arguments, row)
        if any(message["content"] is None for message in messages):
            # Templates that do not expect a null write it down as "None", or fail.
            filled: list[Message] = [{**message, "content": message["content"] or ""} for message in messages]
            plain = self._apply(tokenizer, filled, tools, continued, arguments, row)
            assert plain is not None
            text = plain if text is None or text.count("None") > plain.count("None") else text
        assert text is not None
        names = [str(name) for tool in tools or () if (name := _name(tool))]
        if names and not any(name in text for name in names):
            raise DataError(
                f"the chat template of the tokenizer {tokenizer.name_or_path!r} leaves out the tools of the prompt of"
                f" row {row} ({', '.join(names[:3])}); give a template that writes them as `chat_template`, or write"
                " them into the messages and leave `tools_column` out"
            )
        return text, hidden

    def guarded(self, given: T, tokenizer: PreTrainedTokenizerBase, where: str) -> tuple[T, Hidden]:
        """What a row gives the template, with the text of special tokens hidden if it is to stay text.

        Raises:
            DataError: such text, where it is refused.
        """
        if self.special_tokens == "keep":
            return given, Hidden()
        special = SpecialTokens.of(tokenizer)
        if self.special_tokens == "text":
            return special.hide(given)
        found = next((token for text in texts_in(given, keys=True) if (token := special.found_in(text))), None)
        if found is not None:
            raise DataError(
                f"{where} contains the text of the special token {found!r}, which would become that token and could"
                " forge a message; take it out of the data, or set `special_tokens` to `text` to keep it text, or to"
                " `keep` if your rows hold special tokens on purpose"
            )
        return given, Hidden()

    def encode(self, text: str, hidden: Hidden, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """The ids of a text with what was hidden put back as text.

        Raises:
            DataError: a tokenizer that cannot keep special tokens and text that reads like them apart.
        """
        if hidden.is_needed:
            return SpecialTokens.of(tokenizer).encode(text, hidden)
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def text(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The source of the template; of a tokenizer that has several, of all of them."""
        return "\n".join(self._sources(tokenizer))

    def _sources(self, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        own = self.source or tokenizer.chat_template or ""
        return [str(text) for text in own.values()] if isinstance(own, Mapping) else [str(own)]

    def _apply(
        self,
        tokenizer: PreTrainedTokenizerBase,
        messages: list[Message],
        tools: list[Any] | None,
        continued: bool,
        arguments: Mapping[str, Any],
        row: int,
    ) -> str | None:
        """None where the template fails on a content that is null."""
        try:
            text = tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=tools,
                chat_template=self.source,
                tokenize=False,
                add_generation_prompt=not continued,
                continue_final_message=continued,
                **arguments,
            )
        except Exception as error:
            if any(message["content"] is None for message in messages):
                return None
            raise DataError(
                f"the chat template of the tokenizer {tokenizer.name_or_path!r} refuses the prompt of row {row}:"
                f" {type(error).__name__}: {error}"
            ) from error
        return str(text)

    def _tools(self, prompt: Prompt, where: str) -> list[Any] | None:
        if self.tools_column is None:
            return None
        tools = _parsed(_column(prompt, self.tools_column, "tools_column", where), self.tools_column, where)
        if tools is None or tools == []:
            return None
        if not isinstance(tools, (list, tuple)) or not all(isinstance(tool, Mapping) for tool in tools):
            raise DataError(
                f"{where}: column {self.tools_column!r} must hold a list of tools, each an object (a JSON schema), or"
                f" null for none; got {tools!r:.80}"
            )
        return [without_nulls(tool) for tool in tools]

    def _own_arguments(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase, where: str) -> dict[str, Any]:
        if self.arguments_column is None:
            return {}
        column = self.arguments_column
        found = _parsed(_column(prompt, column, "chat_template_kwargs_column", where), column, where)
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            raise DataError(
                f"{where}: column {column!r} must hold an object of arguments of the chat template; got {found!r:.80}"
            )
        own: dict[str, Any] = without_nulls(found)
        self._check_arguments(own, tokenizer, f"{where}: column {column!r}")
        return own

    def _check_arguments(self, given: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, where: str) -> None:
        if not given:
            return
        for name in given:
            if name in _OWN:
                raise DataError(f"{where} must not contain {name!r}: {_OWN[name]}")
        known = self._variables(tokenizer)
        for name in given:
            if name not in known:
                raise DataError(
                    f"{where}: the chat template does not look at {name!r}{suggest(name, known)}; its variables:"
                    f" {', '.join(sorted(known)) or 'none'}"
                )

    def _variables(self, tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
        """Names that the template reads and that somebody may give it."""
        environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
        found: set[str] = set()
        for source in self._sources(tokenizer):
            try:
                found |= jinja2.meta.find_undeclared_variables(environment.parse(_GENERATION.sub("", source)))
            except jinja2.TemplateError as error:
                raise DataError(f"the chat template cannot be read: {type(error).__name__}: {error}") from error
        given_by_transformers = {"raise_exception", "strftime_now", "documents", *tokenizer.special_tokens_map}
        return frozenset(found - given_by_transformers - {*_OWN})


def _is_continued(messages: list[Message], where: str) -> bool:
    """Whether the policy goes on with the last message; an assistant's turn without text is merely open."""
    last = messages[-1]
    if last["role"] != "assistant":
        return False
    if last.get("tool_calls") or last["content"] is None:
        raise DataError(
            f"{where} ends with an assistant's message that calls tools or has no text, which a policy cannot go on"
            " with; end it before, or after the answers of the tools"
        )
    if last["content"] and not last["content"].strip():
        raise DataError(
            f"{where} ends with an assistant's message of nothing but spaces, which chat templates cut off; leave the"
            " message out, or give it text"
        )
    return bool(last["content"])


def _column(prompt: Prompt, column: str, option: str, where: str) -> Any:
    if column not in prompt.columns:
        raise DataError(
            f"{where}: no column {column!r}, which `{option}` names{suggest(column, prompt.columns)};"
            f" columns: {', '.join(prompt.columns) or 'none'}"
        )
    return prompt.columns[column]


def _parsed(value: Any, column: str, where: str) -> Any:
    """A value that may be written as JSON text, as columnar files often do to spare themselves unions of types."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except ValueError as error:
        raise DataError(f"{where}: column {column!r} holds text that is not JSON ({error}): {value!r:.80}") from error


def _name(tool: Mapping[str, Any]) -> Any:
    function = tool.get("function")
    return function.get("name") if isinstance(function, Mapping) else tool.get("name")
