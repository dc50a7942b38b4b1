"""`morl train --help`: what people use in sections, a section whole, everything; read without importing a part."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import attrs
import pytest

from morl.config.common import COMMON
from morl.config.declared import Declared, parameters_of, read_options
from morl.config.help import help_text, take_topic
from morl.config.settings import all_sections
from morl.config.short_types import short_default, short_type
from morl.config.units import UNITS
from morl.errors import ConfigError, PluginError
from morl.hookspecs import REGISTERING_HOOKS
from morl.plugins import Registry

REGISTRY = Registry()
OWN = Registry(discover=False)


def settings(tree):
    sections = list(all_sections(tree, OWN))
    return {
        each.path: each
        for section in sections
        for each in (*section.settings, *(option for part in section.parts for option in part.settings or ()))
    }


def test_the_text_of_every_installed_part_tells_what_importing_it_does():
    compared = 0
    for part in (part for kind in REGISTERING_HOOKS for part in REGISTRY.names(kind)):
        factory = part.load()
        read, parameters = read_options(part.factory), inspect.signature(factory).parameters
        assert read is not None
        assert {*read} == {*parameters}, part
        for name, option in read.items():
            default = parameters[name].default
            assert (option.default is None) == (default is inspect.Parameter.empty), (part, name)
            if option.default is None or (attrs.has(factory) and isinstance(default, attrs.NOTHING.__class__)):
                continue
            try:
                written = ast.literal_eval(option.default)
            except (ValueError, SyntaxError):  # an expression, whose value the text does not tell
                continue
            made = getattr(default, "factory", None)
            assert written == (default if made is None else made()), (part, name)
            compared += 1
    assert compared > 200


def test_every_number_of_the_config_has_its_unit():
    own = {each for section in all_sections({}, OWN) for each in section.settings}
    numbers = {each.path for each in own if {"int", "float"} & {*each.type.split("|")}}
    assert {path for path in numbers if not path.startswith("evaluation.prompts.")} == {*UNITS}


def test_the_settings_that_people_use_are_settings():
    known = settings({"evaluation": {"prompts": {}}, "environment": {"name": "tools"}})
    listed = [key for group in COMMON.values() for key in group]
    assert len(listed) == len({*listed})
    assert {*listed} <= {*known}
    assert all(known[key].meaning for key in listed), "each is documented in its section"


def test_the_short_help_has_a_line_for_each_key_with_type_default_and_unit():
    lines = help_text({}, OWN).splitlines()
    keys = [line for line in lines if line.startswith("  --")]
    assert len(keys) == sum(map(len, COMMON.values()))
    assert max(map(len, lines)) <= 120
    by_key = {line.split()[0]: line.split() for line in keys}
    assert by_key["--sampling.max_tokens"][1:4] == ["int", "256", "tokens"]
    assert by_key["--optimizer.lr"][1:3] == ["float", "1e-06"]
    assert by_key["--environment.name"][2] == "none"
    assert [line[:-1] for line in lines if line[:-1] in COMMON] == [*COMMON]
    (offered,) = [line for line in lines if line.startswith("      advantage estimators:")]
    assert offered == (
        "      advantage estimators: gdpo, grpo, grpo-no-std, conditioned-<name>; options: --help=estimator.NAME"
    )


def test_the_values_of_a_config_stand_in_the_place_of_defaults():
    tree = {
        "rewards": {"a": {"name": "length", "weight": 3}, "b": {"name": "regex"}},
        "training": {"steps": 7},
        "optimizer": {"schedule": "cosine"},
    }
    text = help_text(tree, OWN)
    for line in ("--rewards.a.weight", "--rewards.b.weight"):
        assert line in text
    assert "= 7 steps" in text
    whole = help_text(tree, OWN, "optimizer")
    assert "--optimizer.schedule  (name|mapping; default constant, in this config cosine)" in whole
    assert "options of the schedule cosine" in whole


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("training", "--training.group_size  (int, completions; default 8)"),
        ("estimator", "options of the advantage estimator gdpo (morl-llm"),
        ("estimator.grpo", "options of the advantage estimator grpo (morl-llm"),
        ("estimator.conditioned-grpo", "--estimator.conditions"),
        ("rewards.length", "--rewards.entry.limit  (int; required)"),
        ("rewards", "rewards.<entry>.name is one of these"),
        ("optimizer.schedule.cosine", "options of the schedule cosine"),
        ("estimator.weighting.schedule", "options of the weighting schedule"),
        ("evaluation", "--evaluation.prompts.name"),
        ("all", "--plugins.disable"),
    ],
)
def test_a_section_or_a_part_is_shown_whole(topic, says):
    text = help_text({}, OWN, topic, width=200)
    assert says in text
    assert "in this config" not in text


@pytest.mark.parametrize(
    ("topic", "error", "says"),
    [
        ("trainig", ConfigError, "did you mean 'training'"),
        ("estimator.gprpo", PluginError, "did you mean 'grpo'"),
    ],
)
def test_a_topic_that_there_is_not_is_refused(topic, error, says):
    with pytest.raises(error, match=says):
        help_text({}, OWN, topic)


def test_the_topic_may_follow_as_an_argument_and_a_file_is_none():
    assert take_topic(["c.yaml", "-h"]) == ("", ["c.yaml"])
    assert take_topic(["--help", "c.yml", "--seed=1"]) == ("", ["c.yml", "--seed=1"])
    assert take_topic(["--help", "training", "c.yaml"]) == ("training", ["c.yaml"])
    assert take_topic(["--help=all"]) == ("all", [])


def test_torch_is_not_imported_for_it():
    code = (
        "import sys; from morl.cli import main\n"
        "for topic in ('', '=all', '=estimator.conditioned-grpo'): main(['train', '--help' + topic])\n"
        "sys.exit(str({'torch', 'numpy', 'transformers', 'lightning'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "set()\n"


@pytest.mark.parametrize(
    ("annotation", "name", "short"),
    [
        ("int | None", "k", "int"),
        ("Optional[Literal['a', 'b']]", "k", "a|b"),
        ("dict[str, Any]", "k", "mapping"),
        ("str | list[str]", "name", "name|list"),
        ("'str'", "cache_file", "path"),
        ("Callable[..., Any] | str", "k", "function|text"),
        ("Any", "k", "any"),
        ("None", "k", "value"),
        ("something odd", "k", "value"),
    ],
)
def test_types_are_short(annotation, name, short):
    assert short_type(annotation, name) == short


def test_defaults_are_yaml():
    texts = (None, "{}", "1e-06", "'x'", "make()")
    assert [short_default(text) for text in texts] == ["required", "{}", "1e-06", "x", ".."]


def test_a_function_without_a_docstring_has_options_without_meaning():
    def function(a: int, b: str = "x"): ...

    assert parameters_of(function) == {"a": Declared("a", "int"), "b": Declared("b", "str", "'x'")}
    assert parameters_of(lambda **more: None) is None
