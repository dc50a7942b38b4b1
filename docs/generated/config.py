"""The config: its sections, the options of the parts that they name, the command line."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from typing import Any

import attrs

from generated.options import option_rows, plural, table
from morl.advantage import Condition
from morl.cli import USAGE
from morl.config import schema
from morl.hookspecs import REGISTERING_HOOKS
from morl.plugins import Registry

_SECTION_OF = {
    "prompt source": "prompts",
    "policy source": "policy",
    "rollout backend": "rollout",
    "reward provider": "rewards.<entry>",
    "advantage estimator": "estimator",
    "policy loss": "loss",
    "environment": "environment",
    "weighting": "estimator.weighting",
    "optimizer": "optimizer",
    "schedule": "optimizer.schedule",
}
_OF_PARTS = {"optimizer": ("betas", "eps", "weight_decay")}
"""Parameters of a section's class that belong to the part that it names."""


def config_sections() -> Iterator[str]:
    """A table per section of the config."""
    hints = typing.get_type_hints(schema.Config)
    sections = {name: section for name, hint in hints.items() for section in _sections(hint)}
    yield from table("The run", schema.Config, skip=[*sections])
    for name, section in sections.items():
        heading = "`rewards.<entry>`" if name == "rewards" else f"`{name}`"
        yield from table(heading, section, skip=["options", "prompts", *_OF_PARTS.get(name, ())])
        if name == "evaluation":
            yield from (
                "`evaluation.prompts` has the keys of `prompts`. Without this section nothing is evaluated.",
                "",
            )
        if name == "environment":
            yield from ("`tools: [..]` is short for `environment: {name: tools, functions: [..]}`.", "")
        if name == "policy":
            for key, options in schema.MAPPINGS.items():
                yield from table(f"`policy.{key}`", options)


def part_options() -> Iterator[str]:
    """A table per part that morl brings along."""
    registry = Registry(discover=False)
    for kind in REGISTERING_HOOKS:
        if not registry.names(kind):
            continue
        yield from ("", f"### {plural(kind)}", "")
        for part in registry.names(kind):
            yield from table(f"`{_SECTION_OF[kind]}.name: {part.name}`", part.load(), level=4)
        if kind == "advantage estimator":
            yield from _conditioned(registry)


def _conditioned(registry: Registry) -> Iterator[str]:
    wrapper = registry.find("advantage estimator", "conditioned-grpo-no-std").load()
    yield from ("#### `estimator.name: conditioned-<name>`", "")
    yield from (
        "Any estimator, on conditioned rewards (arXiv 2601.05242, eq. 8); it takes that one's options, too.",
        "",
    )
    yield from option_rows(wrapper, list(inspect.signature(wrapper).parameters))
    yield from ("A condition:", "")
    yield from option_rows(Condition, [field.name for field in attrs.fields(Condition)])


def usage() -> Iterator[str]:
    """What `morl --help` prints."""
    yield from ("```text", *USAGE.splitlines(), "```")


def _sections(hint: Any) -> list[type]:
    """The config section that a field of `Config` holds, if any."""
    if attrs.has(hint):
        return [hint]
    return [argument for argument in typing.get_args(hint) if attrs.has(argument)]
