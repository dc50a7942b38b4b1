"""How a task is put to the policy; shared by the prompt sources."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import ClassVar

from attrs import frozen

from morl.errors import ConfigError
from morl.types import Message

PLEASE = "Give the whole program in one block that begins with ```python and ends with ```."


@frozen(eq=False, kw_only=True)
class Wording:
    """Options of every prompt source.

    Attributes:
        template: of the prompt, with fields in braces; null takes the source's own.
        chat: send the prompt as a user message, through the tokenizer's chat template.
        system: message in front of it, of a chat only; takes the place of the row's own, and an empty one leaves that
            out.
        limit: use this many rows only, from the start.

    Raises:
        ConfigError: a template with a field that the source does not have, or without any; `system` without `chat`; a
            limit below 1.
    """

    fields: ClassVar[tuple[str, ...]]
    template: str | None = None
    chat: bool = True
    system: str | None = None
    limit: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1 row, or null for all; got {self.limit}")
        if self.system is not None and not self.chat:
            raise ConfigError("system is a message of a chat; leave it out, or set chat: true")
        if self.template is None:
            return
        try:
            used = {name for _, name, _, _ in Formatter().parse(self.template) if name is not None}
        except ValueError as error:
            raise ConfigError(f"template: {error} (double a brace that stands for itself)") from error
        if not used or not used <= {*self.fields}:
            known = ", ".join(f"{{{name}}}" for name in self.fields)
            raise ConfigError(f"template must have fields among {known}; got {self.template!r}")

    def content(self, default: str, fields: Mapping[str, str], system: str = "") -> str | list[Message]:
        """The prompt of one row.

        Args:
            default: the source's own template.
            fields: what stands in its braces.
            system: the row's own system message.
        """
        text = (self.template or default).format_map(fields)
        if not self.chat:
            return text
        system = system if self.system is None else self.system
        return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]
