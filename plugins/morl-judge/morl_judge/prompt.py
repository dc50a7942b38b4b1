"""What a judge is shown: a template in sandboxed jinja."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from morl.errors import ConfigError, DataError
from morl.types import Completion

_GIVEN = ("prompt", "messages", "completion")


@frozen
class JudgePrompt:
    """Renders the messages to a judge.

    A template knows `completion`, the text; `prompt`, the text of the prompt, or of its last user message; `messages`,
    the chat so far, a list that is empty for a text prompt; and every column of the row by its name.  What these hold
    is text, never a template.

    Args:
        template: of the user message.
        system: template of a system message; None sends none.

    Raises:
        ConfigError: a template that cannot be read, or that does not mention the completion.

    >>> from morl.types import Prompt
    >>> judge = JudgePrompt("Is {{ completion }} the capital of {{ country }}?")
    >>> judge.columns, judge.render(Completion(Prompt("?", {"country": "Italy"}), "Rome", ()))
    (('country',), [{'role': 'user', 'content': 'Is Rome the capital of Italy?'}])
    """

    template: str
    system: str | None = None
    columns: tuple[str, ...] = field(init=False)
    _compiled: Mapping[str, Template] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
        texts = {"user": self.template} if self.system is None else {"system": self.system, "user": self.template}
        compiled, names = {}, set()
        for role, text in texts.items():
            try:
                names |= meta.find_undeclared_variables(environment.parse(text))
                compiled[role] = environment.from_string(text)
            except TemplateError as error:
                raise ConfigError(f"the {role} template is no jinja: {error}; got {text[:200]!r}") from error
        if "completion" not in names:
            raise ConfigError("the template must mention {{ completion }}, or every completion gets the same grade")
        object.__setattr__(self, "columns", tuple(sorted(names - {*_GIVEN, *environment.globals})))
        object.__setattr__(self, "_compiled", compiled)

    def render(self, completion: Completion) -> list[dict[str, str]]:
        """Chat messages for the judge.

        Raises:
            DataError: a template that fails on this row.
        """
        content = completion.prompt.content
        messages = [] if isinstance(content, str) else list(content)
        asked = content if isinstance(content, str) else _last_user_message(messages)
        values = {**completion.prompt.columns, "prompt": asked, "messages": messages, "completion": completion.text}
        try:
            return [{"role": role, "content": each.render(values)} for role, each in self._compiled.items()]
        except Exception as error:
            raise DataError(f"the judge's template fails on a row: {type(error).__name__}: {error}") from error


def _last_user_message(messages: list[Mapping[str, Any]]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return str(message.get("content"))
    return ""
