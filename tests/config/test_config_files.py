"""Files that are not what they seem: keys that stand twice, other encodings."""

from __future__ import annotations

import pytest

from morl.config import read_yaml
from morl.config.yaml12 import load
from morl.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("rewards:\n  short: {name: length}\n  other: {name: regex}\n  short: {name: tags}\n", "short", 2),
        ("seed: 1\nseed: 1\n", "seed", 1),
        ("training: {steps: 1, steps: 2}\n", "steps", 1),
        ("- {a: 1, 'a': 2}\n", "a", 1),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text, key, line):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"the key '{key}' stands twice in one mapping, first in line {line}"):
        read_yaml(path)


def test_a_merge_overrides_and_is_no_second_key():
    text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\n"
    assert load(text) == {"base": {"a": 1, "b": 2}, "more": {"a": 1, "b": 3}}


def test_keys_of_other_types_are_other_keys():
    assert load("{1: a, '1': b}") == {1: "a", "1": "b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sampling: &s\n  again: *s\n", "holds itself, by an alias"),
        ("stop: &s [a, *s]\n", "holds itself, by an alias"),
        (f"seed: {'[' * 3000}{']' * 3000}\n", "nested too deeply"),
        (f"seed: {'9' * 5000}\n", "a value cannot be read: .*4300 digits"),
        ("seed: 2024-02-31\n", "a value cannot be read: day is out of range"),
    ],
)
def test_what_has_no_end_or_no_value_is_refused(tmp_path, text, said):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"config.yaml is not valid YAML: .*{said}"):
        read_yaml(path)


def test_an_anchor_that_is_used_often_is_no_circle():
    text = "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b, *b]\n"
    assert load(text)["c"] == [[["x"], ["x"]]] * 3


def test_a_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes("output: läufe\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"config.yaml is not a text in UTF-8 \(byte 9: .*\); save it"):
        read_yaml(path)
