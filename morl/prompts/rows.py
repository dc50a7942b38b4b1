"""How a row of a data set becomes a prompt; shared by morl's prompt sources."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any

from attrs import field, frozen

from morl.errors import ConfigError, DataError, suggest
from morl.prompts.characters import check_row
from morl.prompts.messages import chat_messages
from morl.types import Message, Prompt


@frozen(eq=False, kw_only=True)
class RowOptions:
    """Options of every source of rows.

    The columns of a prompt are the row's other fields, or, with a template, all of them.

    Attributes:
        prompt: column with the prompt: text, or a list of chat messages.
        template: text with columns in braces in place of one column, e.g. `"Question: {question}\\nAnswer:"`; a brace
            that stands for itself is doubled.
        system: system message to put in front; makes a text prompt a chat.
        chat: whether a text prompt is sent as a user message, through the tokenizer's chat template.
        limit: use this many rows only, from the start.

    Raises:
        ConfigError: a template that is malformed or makes `prompt` pointless, a limit below 1.
    """

    # Without an annotation: `ClassVar` is no name in the modules of derived classes, whose options would all lose their
    # types with it when the config's parser asks for them.
    form_options = ("prompt", "template", "system", "chat")
    """What held-out prompts take from the training prompts unless they have their own; any source may declare it."""

    prompt: str = "prompt"
    template: str | None = None
    system: str | None = None
    chat: bool = False
    limit: int | None = None
    _template_columns: tuple[str, ...] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1 row, or null for all; got {self.limit}")
        if self.template is not None and self.prompt != "prompt":
            raise ConfigError(
                f"the prompt is either the column {self.prompt!r} or made by `template`; set one of the two"
            )
        object.__setattr__(self, "_template_columns", _columns(self.template))

    def check(self, columns: Iterable[str], where: str) -> None:
        """Raises `DataError` unless a row with these columns has all that the prompt is made of."""
        columns = list(columns)
        for needed in [self.prompt] if self.template is None else self._template_columns:
            if needed not in columns:
                raise DataError(
                    f"{where}: no column {needed!r} to make the prompt of{suggest(needed, columns)};"
                    f" columns: {', '.join(columns) or 'none'}; set the source's option `prompt` or `template`"
                )

    def to_prompt(self, row: Mapping[str, Any], where: str) -> Prompt:
        """The prompt of a row.

        Args:
            row: fields by name.
            where: names the row in errors.

        Raises:
            DataError: a missing column, a prompt that is neither text nor messages, half a character in any column.
        """
        self.check(row, where)
        check_row(row, where)
        if self.template is None:
            columns = {name: value for name, value in row.items() if name != self.prompt}
            return Prompt(self._content(row[self.prompt], where), columns)
        for name in self._template_columns:
            if row[name] is None:
                raise DataError(f"{where}: column {name!r}, which the template needs, is null")
        try:
            text = self.template.format_map(row)
        except (AttributeError, LookupError, ValueError, TypeError) as error:
            raise DataError(f"{where}: the template cannot be filled: {type(error).__name__}: {error}") from error
        return Prompt(self._content(text, where), dict(row))

    def _content(self, content: Any, where: str) -> str | list[Message]:
        if isinstance(content, str):
            if not self.chat and self.system is None:
                return content
            messages: list[Message] = [{"role": "user", "content": content}]
        else:
            messages = chat_messages(content, self.prompt, where)
        if self.system is None:
            return messages
        if messages[0]["role"] == "system":
            raise DataError(
                f"{where}: the prompt has a system message of its own; leave the option `system` out, or set it to null"
            )
        return [{"role": "system", "content": self.system}, *messages]


def _columns(template: str | None) -> tuple[str, ...]:
    """Names of the columns that a template mentions."""
    if template is None:
        return ()
    try:
        fields = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ConfigError(f"template: {error} (double a brace that stands for itself); got {template!r}") from error
    names = [re.split(r"[.\[]", name)[0] for name in fields]
    if not names or any(not name or name.isdigit() for name in names):
        raise ConfigError(
            f"template must name columns in braces, e.g. '{{question}}' (double a brace that stands for itself);"
            f" got {template!r}"
        )
    return tuple(dict.fromkeys(names))
