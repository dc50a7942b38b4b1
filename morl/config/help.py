"""`morl train --help`: the settings that people use on one screen or two, a section whole, or everything."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from morl._version import DISTRIBUTION
from morl.config.common import COMMON
from morl.config.sections import NESTED, Tree
from morl.config.settings import ENTRY, PartSettings, SectionSettings, Setting, all_sections
from morl.errors import ConfigError, suggest
from morl.plugins import Registry
from morl.plugins.registry import CONDITIONED

ALL = "all"
_USAGE = "usage: morl train CONFIG [CONFIG ...] [--section.key=value ...] [--print_config] [--help[=SECTION]]"
_KINDS = {
    "policy": "policy source",
    "prompts": "prompt source",
    "rewards": "reward provider",
    "environment": "environment",
    "estimator": "advantage estimator",
    "rollout": "rollout backend",
    "loss": "policy loss",
    "optimizer": "optimizer",
    **{inner.path: str(inner.kind) for inner in NESTED.values()},
}
_OPTIONAL = ("environment.", "evaluation.")
_ENTRY_NAME = "entry"
"""A reward where one is described by the name of its provider."""


def take_topic(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """What of the help is asked for, and the other arguments; None without `--help`, empty for all that people use.

    >>> take_topic(["a.yaml", "--help", "training"]), take_topic(["--help", "a.yaml"]), take_topic(["--seed=1"])
    (('training', ['a.yaml']), ('', ['a.yaml']), (None, ['--seed=1']))
    """
    topic: str | None = None
    rest: list[str] = []
    left = [*arguments]
    while left:
        argument = left.pop(0)
        if argument.startswith("--help="):
            topic = argument.partition("=")[2]
        elif argument in ("--help", "-h"):
            topic = topic or ""
            if left and not left[0].startswith("-") and not left[0].endswith((".yaml", ".yml")):
                topic = left.pop(0)
        else:
            rest.append(argument)
    return topic, rest


def help_text(tree: Tree, registry: Registry, topic: str = "", width: int | None = None) -> str:
    """The help of `morl train`, with the values of `tree` beside the defaults.

    Nothing is imported that a part's text tells, so that it is there at once.

    Args:
        tree: a config, which may be empty.
        registry: where names are looked up.
        topic: empty for what people use, a section, a part (`estimator.grpo`, `rewards.length`), or `all`.
        width: of the terminal, in characters; None asks it.

    Raises:
        ConfigError: no such topic.
        PluginError: a part of `tree` that does not exist.
    """
    width = width or max(80, min(120, shutil.get_terminal_size().columns))
    named, topic = _with_part(tree, registry, topic)
    found = list(all_sections(named, registry, written=tree))
    if not topic:
        lines: Iterable[str] = _overview(found)
    elif topic == ALL:
        lines = [_USAGE, *(line for section in found for line in _whole(section, width))]
    else:
        shown = [section for section in found if section.path == topic or section.path.startswith(f"{topic}.")]
        if not shown:
            names = [section.path for section in found if section.path]
            raise ConfigError(
                f"--help={topic}: no such section{suggest(topic, names)}; sections: {', '.join(names)}, all"
            )
        lines = (line for section in shown for line in _whole(section, width))
    return "\n".join(lines) + "\n"


def _with_part(tree: Tree, registry: Registry, topic: str) -> tuple[Tree, str]:
    """A config in which a section names the part that the topic does, and the section."""
    head, _, name = topic.rpartition(".")
    if head not in _KINDS or topic in _KINDS or (head == "rewards" and name in (tree.get("rewards") or {})):
        return tree, topic
    registry.find(_KINDS[head], name.removeprefix(CONDITIONED))  # whose wrapper would be imported
    if head == "rewards":
        return {**tree, "rewards": {_ENTRY_NAME: {"name": name}}}, "rewards"
    outer, _, inner_key = head.partition(".")
    return {**tree, outer: {inner_key: {"name": name}} if inner_key else {"name": name}}, outer


def _overview(found: Sequence[SectionSettings]) -> Iterator[str]:
    every = {each.path: each for section in found for each in _settings(section)}
    rows = {group: [*_rows(every, keys)] for group, keys in COMMON.items()}
    total, shown = len(every), sum(map(len, rows.values()))
    yield from (_USAGE, "", f"The {shown} settings that are used most. A section whole, with what each key means:")
    sections = [section.path for section in found if section.path]
    yield from ("  morl train --help=training", "", "sections:")
    yield from textwrap.wrap(", ".join(sections), 100, initial_indent="  ", subsequent_indent="  ")
    yield from ("", f"All {total} settings: --help=all. With a CONFIG: its values, and the options of its parts.")
    every_row = [row for group in rows.values() for row in group]
    wide = [max(len(row[column]) for row in every_row) for column in range(3)]
    parts = {part.path: part for section in found for part in section.parts}
    for group, lines in rows.items():
        yield from ("", f"{group}:")
        for key, type_, default, text in lines:
            yield f"  {key:<{wide[0]}}  {type_:<{wide[1]}}  {default:<{wide[2]}}  {text}".rstrip()
        for head in dict.fromkeys(key.partition(".")[0] for key in COMMON[group]):
            yield from _names_offered(parts, head, group)


def _rows(every: Mapping[str, Setting], keys: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Key, type, default with unit or value, and text of each that the config has."""
    for key, text in keys.items():
        pattern = re.escape(key).replace(re.escape(ENTRY), r"(<entry>|\w+)")
        for path, setting in every.items():
            if re.fullmatch(pattern, path):
                yield f"--{path}", _brief(setting.type), _stands(setting), text


def _brief(type_: str) -> str:
    return type_ if len(type_) <= 16 else "choice"


def _stands(setting: Setting) -> str:
    """The value, or the default, with its unit."""
    stands = setting.default if setting.value is None else f"= {_cut(setting.value, 30)}"
    if stands == "required" and setting.path.startswith(_OPTIONAL):
        return "none"
    if not setting.unit:
        return stands
    counted = stands[-1].isdigit() and setting.unit.endswith("s")
    return f"{stands} {setting.unit}" if counted else f"{stands} ({setting.unit})"


def plural(kind: str) -> str:
    """Of a kind of part."""
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _names_offered(parts: Mapping[str, PartSettings], head: str, group: str) -> Iterator[str]:
    """Names that a section's `name` may have, and where their options are."""
    part = next((each for path, each in parts.items() if path.partition(".")[0] == head), None)
    if part is None or not any(key in (f"{head}.name", f"{head}.{ENTRY}.name") for key in COMMON[group]):
        return
    names = [name for each in part.offered.values() for name in each]
    if part.kind == "advantage estimator":
        names.append("conditioned-<name>")
    text = f"{plural(part.kind)}: {', '.join(names)}; options: --help={head}.NAME"
    yield from textwrap.wrap(text, 112, initial_indent="      ", subsequent_indent="        ", break_on_hyphens=False)


def _whole(section: SectionSettings, width: int) -> Iterator[str]:
    """Every key of a section, and of the part that it names, with its meaning."""
    yield from ("", f"{section.path or 'beside the sections'}: {section.title}")
    for setting in section.settings:
        yield from _entry(setting, width)
    for part in section.parts:
        yield from ("", *_offered(part, width))
        if part.name is not None:
            yield from ("", f"options of the {part.kind} {part.name} ({part.owner}):")
            if part.settings is None:
                yield "  any keyword"
            elif not part.settings:
                yield "  none"
            for setting in part.settings or ():
                yield from _entry(setting, width)


def _offered(part: PartSettings, width: int) -> Iterator[str]:
    where = "rewards" if part.path.startswith("rewards.") else part.path
    yield f"{part.path}.name is one of these, of which --help={where}.NAME tells the options:"
    for label, names in part.offered.items():
        own = part.kind == "advantage estimator" and label.startswith(DISTRIBUTION)
        more = " and conditioned-<name> of any" if own else ""
        text = f"{', '.join(names)}{more} ({label})"
        yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _entry(setting: Setting, width: int) -> Iterator[str]:
    unit = f", {setting.unit}" if setting.unit else ""
    value = "" if setting.value is None else f", in this config {_cut(setting.value, 60)}"
    default = setting.default if setting.default == "required" else f"default {setting.default}"
    yield f"  --{setting.path}  ({setting.type}{unit}; {default}{value})"
    yield from textwrap.wrap(
        setting.meaning, width, initial_indent="      ", subsequent_indent="      ", break_on_hyphens=False
    )


def _settings(section: SectionSettings) -> list[Setting]:
    return [*section.settings, *(each for part in section.parts for each in part.settings or ())]
