"""Texts of a config stay texts: YAML alone decides what is a number, a mapping or nothing."""

from __future__ import annotations

import pytest
import yaml

from morl.config import merge, parse, to_yaml
from morl.config.yaml12 import load
from morl.errors import ConfigError
from morl.hookspecs import hookimpl
from morl.plugins import Registry

TEXTS = ("Grade: (x)", "5", "1e3", "null", "~", "[1, 2]", "{a: 1}", "true", "- a", "", "2026-11-30")


def tree(**arguments: object) -> dict[str, object]:
    reward = {"name": "python", "function": "rewards.py:graded", "arguments": arguments}
    return {"policy": {"path": "model"}, "prompts": {"path": "prompts.jsonl"}, "rewards": {"graded": reward}}


@pytest.mark.parametrize("text", TEXTS)
def test_options_of_any_type_keep_them(text):
    arguments = {"pattern": text, "several": [text], "named": {"one": {"deep": text}}}
    config = parse(tree(**arguments), Registry())
    assert config.rewards["graded"].options["arguments"] == arguments
    assert parse(yaml.safe_load(to_yaml(config)), Registry()) == config


class Source:
    """A prompt source whose option may be a text or something else."""

    def __init__(self, column: int | str | list[str] | None = None) -> None:
        self.column = column


class Plugin:
    @hookimpl
    def morl_register_prompt_sources(self):
        return {"columns": Source}


@pytest.mark.parametrize("text", TEXTS)
def test_options_of_several_types_keep_them(text):
    prompts = {"name": "columns", "column": text}
    config = parse({**tree(), "prompts": prompts}, Registry([Plugin()], discover=False))
    assert config.prompts.options["column"] == text


def test_what_yaml_reads_as_something_else_is_that():
    config = parse(tree(**load("a: 5\nc: null\nd: {k: [1, x]}")), Registry())
    assert config.rewards["graded"].options["arguments"] == {"a": 5, "c": None, "d": {"k": [1, "x"]}}


def test_the_mapping_that_is_parsed_is_left_alone():
    given = tree(pattern="Grade: (x)")
    before = yaml.safe_dump(given)
    parse(given, Registry())
    assert yaml.safe_dump(given) == before


def test_the_command_line_is_yaml_too():
    base = tree(pattern="x")
    config = parse(merge(base, ["--rewards.graded.arguments.pattern='5'"]), Registry())
    assert config.rewards["graded"].options["arguments"] == {"pattern": "5"}
    config = parse(merge(base, ["--rewards.graded.arguments.pattern=5"]), Registry())
    assert config.rewards["graded"].options["arguments"] == {"pattern": 5}


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("jsonl", {"limit": "three"}),
        ("jsonl", {"chat": "maybe"}),
        ("datasets", {"template": 3}),
        ("datasets", {"limit": [1]}),
    ],
)
def test_options_that_a_part_inherits_have_their_types(source, wrong):
    (option,) = wrong
    prompts = {"name": source, "path": "rows", **wrong}
    with pytest.raises(ConfigError, match=f"prompts.{option} must be "):
        parse({**tree(), "prompts": prompts}, Registry())
