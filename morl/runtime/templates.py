"""The chat template that a section of the config speaks of."""

from __future__ import annotations

from pathlib import Path

from morl.config.schema import HeldOutPromptsConfig
from morl.errors import ConfigError, suggest
from morl.prompts import ChatTemplate


def chat_template(section: HeldOutPromptsConfig, path: str) -> ChatTemplate:
    """What the config's section `path` gives the chat template.

    Raises:
        ConfigError: a file that is not there, is empty or is no text.
    """
    source = None
    if section.chat_template is not None:
        file = Path(section.chat_template)
        if not file.is_file():
            near = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
            raise ConfigError(
                f"{path}.chat_template: there is no file {str(file)!r}{suggest(file.name, near)}"
                f" (looked in {Path.cwd()})"
            )
        try:
            source = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}.chat_template: {str(file)!r} is no text in UTF-8: {error}") from error
        if not source.strip():
            raise ConfigError(f"{path}.chat_template: {str(file)!r} is empty")
    columns = {"tools_column": section.tools_column, "arguments_column": section.chat_template_kwargs_column}
    return ChatTemplate(source, section.chat_template_kwargs, **columns, special_tokens=section.special_tokens)
