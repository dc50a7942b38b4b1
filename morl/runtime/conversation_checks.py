"""What can be known to be wrong with conversations before any data or model is loaded."""

from __future__ import annotations

from attrs import astuple

from morl.config.schema import Config
from morl.errors import ConfigError
from morl.runtime.templates import chat_template


def check_conversations(config: Config) -> None:
    """Refuses limits that contradict each other, and two chat templates where there can be one.

    Raises:
        ConfigError: says which keys, and how to mend them.
    """
    options = config.environment
    if options is None:
        return
    if options.max_tokens is not None and options.max_tokens < config.sampling.max_tokens:
        raise ConfigError(
            f"environment.max_tokens={options.max_tokens} limits a whole conversation, and sampling.max_tokens="
            f"{config.sampling.max_tokens} one turn of it, which it then never reaches; lower the latter"
        )
    if options.max_turns == 1 and options.max_tool_calls is not None:
        raise ConfigError(
            f"environment.max_tool_calls={options.max_tool_calls} has no effect with max_turns=1, after which"
            " nothing is sampled; leave it out"
        )
    if config.evaluation is not None:
        given = [
            chat_template(config.prompts, "prompts"),
            chat_template(config.evaluation.prompts, "evaluation.prompts"),
        ]
        if astuple(given[0]) != astuple(given[1]):
            raise ConfigError(
                "evaluation.prompts has another chat template than prompts (chat_template, chat_template_kwargs,"
                " chat_template_kwargs_column, tools_column or special_tokens), and conversations are continued with"
                " one; leave these keys out of evaluation.prompts"
            )
