"""A typo is found without importing what the config names, and says the same as the parser would."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import yaml

from morl.config.declared import declared_options
from morl.config.load import parse
from morl.config.parser import build_parser, refuse_unknown
from morl.config.sections import spelt_out
from morl.errors import ConfigError
from morl.hookspecs import REGISTERING_HOOKS
from morl.plugins import Registry

CONFIG = {
    "policy": {"path": "model"},
    "prompts": {"path": "prompts.jsonl"},
    "rewards": {"short": {"name": "length", "limit": 8}},
    "evaluation": {"prompts": {"path": "prompts.jsonl"}},
}


def test_the_options_of_every_installed_part_are_read_from_its_text():
    registry = Registry()
    for part in (part for kind in REGISTERING_HOOKS for part in registry.names(kind)):
        declared = declared_options(part.factory)
        assert declared == frozenset(inspect.signature(part.load()).parameters), part


MODULE = """
import functools
import attrs
from attrs import field, frozen
from dataclasses import dataclass
from typing import ClassVar, Protocol
from json import JSONDecoder as Renamed
import elsewhere

@frozen
class Fields:
    kind: ClassVar[str] = "x"
    _hidden: int = 1
    made: int = field(default=2, init=False)
    given: int = field(default=2)

@attrs.define(eq=False)
class Inherits(Fields):
    own: str = ""

class Plain(Inherits): ...
class Own:
    def __init__(self, first, *, second=1): ...
class Open:
    def __init__(self, first, **more): ...
def function(first, /, second, *rest, third=1): ...
def anything(**more): ...
@functools.lru_cache
def decorated(first): ...
@frozen
class Alias:
    name: int = field(alias="other")
class Unknown(elsewhere.Base): ...
class Meta(Fields, metaclass=type): ...
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Fields", {"hidden", "given"}),
        ("Inherits", {"hidden", "given", "own"}),
        ("Plain", {"hidden", "given", "own"}),
        ("Own", {"first", "second"}),
        ("function", {"first", "second", "third"}),
        *(
            (name, None)
            for name in ("Open", "anything", "decorated", "Alias", "Unknown", "Meta", "Missing", "Own.inner")
        ),
    ],
)
def test_what_the_text_does_not_tell_is_left_to_the_import(name, expected, tmp_path, monkeypatch):
    (tmp_path / "parts_of_text.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    assert declared_options(f"parts_of_text:{name}") == expected
    assert "parts_of_text" not in sys.modules
    assert declared_options("no_such_module_at_all:Name") is None
    assert declared_options(lambda first, second=1: None) == {"first", "second"}
    assert declared_options(lambda **more: None) is None


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (None, "trainig"),
        ("training", "step"),
        ("trainer", "device"),
        ("estimator", "epss"),
        ("policy", "pth"),
        ("optimizer", "betass"),
    ],
)
def test_it_says_what_the_parser_says(section, key):
    tree = {**CONFIG, **({section: {**CONFIG.get(section, {}), key: 1}} if section else {key: 1})}
    registry = Registry()
    with pytest.raises(ConfigError) as early:
        parse(tree, registry)
    spelt = spelt_out(tree, registry, frozenset())
    with pytest.raises(ConfigError) as late:
        refuse_unknown(spelt, build_parser(spelt, registry))
    assert str(early.value).splitlines()[0] == str(late.value).splitlines()[0]
    if section:  # the parser knows no sections but those that are there
        assert str(early.value) == str(late.value)


TYPOS = (
    {"rewards": {"short": {"name": "length", "limt": 8}}},
    {"evaluation": {"prompts": {"pth": "x"}}},
    {"evaluation": {"sample": 3, "prompts": {"path": "x"}}},
    {"estimator": {"name": "conditioned-gdpo", "condition": {}}},
    {"estimator": {"name": "gdop"}},
)


def test_neither_torch_nor_a_part_is_imported_for_a_typo(tmp_path):
    paths = [tmp_path / f"config-{number}.yaml" for number in range(len(TYPOS))]
    for path, tree in zip(paths, TYPOS, strict=True):
        path.write_text(yaml.safe_dump({**CONFIG, **tree}))
    code = (
        "import sys; from morl.cli import main; codes = [main(['train', path]) for path in sys.argv[1:]];"
        "print(codes, sorted({'torch', 'numpy', 'transformers', 'lightning'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.stdout == f"{[2] * len(TYPOS)} []\n", done.stderr
    assert done.stderr.count("did you mean") == len(TYPOS)
