"""Keys under their former names."""

import pytest

from morl.config import merge, parse, to_mapping
from morl.config.renamed import RENAMED
from morl.errors import ConfigError
from morl.plugins import Registry


def nested(path, value):
    """`a.b.c` as {a: {b: {c: value}}}."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def found(tree, path):
    for key in path.split("."):
        tree = tree[key]
    return tree


BASE = {"prompts": {"path": "p.jsonl"}, "policy": {"path": "m"}, "rewards": {"short": {"name": "length", "limit": 3}}}


@pytest.mark.parametrize("former", sorted(RENAMED))
def test_a_former_key_sets_the_present_one(former):
    present = RENAMED[former]
    written = nested(former, 9)
    for section, own in BASE.items():
        written[section] = {**own, **written.get(section, {})}
    if "evaluation" in written:
        written["evaluation"]["prompts"]["path"] = "held-out.jsonl"
    with pytest.warns(FutureWarning, match=f"the key {former} is now called {present}"):
        config = parse(written, Registry())
    assert found(to_mapping(config), present) == 9


@pytest.mark.parametrize("former", sorted(RENAMED))
def test_an_override_by_either_name_wins_over_the_file(former):
    present = RENAMED[former]
    for file, override in [(former, former), (former, present), (present, former)]:
        with pytest.warns(FutureWarning):
            merged = merge(nested(file, 9), [f"--{override}=7"])
        assert merged == nested(present, 7)


@pytest.mark.parametrize("former", sorted(RENAMED))
def test_both_names_at_once_are_refused(former):
    present = RENAMED[former]
    both = nested(former, 9)
    found(both, former.rpartition(".")[0])[present.rpartition(".")[2]] = 8
    with pytest.raises(ConfigError, match=f"{former} is the former name of {present}, and both are given"):
        merge(both, [])
