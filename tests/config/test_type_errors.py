"""A value of the wrong type is answered in one line: what the key takes, and what came."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from morl.config.load import parse
from morl.errors import ConfigError
from morl.plugins import Registry

REGISTRY = Registry(discover=False)
CONFIG = {
    "policy": {"path": "m"},
    "prompts": {"path": "p"},
    "rewards": {"a": {"name": "length", "limit": 3}},
    "evaluation": {"prompts": {"path": "p"}},
}
WHOLE, NULL = "a whole number of at least 1", ", or null"


def message(path: str, value: Any) -> str:
    tree: Any = copy.deepcopy(CONFIG)
    node, (*parents, last) = tree, path.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    with pytest.raises(ConfigError) as caught:
        parse(tree, REGISTRY)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "takes"),
    [
        ("training.steps", "many", WHOLE + NULL),
        ("training.group_size", -1, WHOLE),
        ("training.mask_truncated", "maybe", "true or false, or statistics"),
        ("loss.kl_estimator", "k4", "k1, k2 or k3"),
        ("rewards.a.weight", [1], "a number, or a mapping"),
        ("rewards.a.bounds", "x", "a list of numbers, or a mapping, or null"),
        ("rewards.a.when", "x", "a mapping" + NULL),
        ("trainer.devices", {"a": 1}, "a whole number, or a text, or a list of whole numbers"),
        ("rollout.keep_special_tokens", 3, "auto or none, or a list of texts"),
        ("optimizer.betas", 0.9, "a list of 2 numbers"),
        ("sampling.stop", 3, "a list of texts"),
        ("evaluation.initial", 3, "true or false, or a text"),
        ("estimator.ddof", "q", "a whole number"),
        ("optimizer.lr", "fast", "a number of at least 0"),
        ("policy.dtype", "fp8", "float32 or bfloat16"),
        ("prompts.chat_template_kwargs", 3, "a mapping"),
        ("policy.lora", 3, "a mapping of rank, alpha, dropout, target_modules, exclude_modules, dora, rslora,"),
        ("optimizer.schedule", {"name": "wsd", "decay_ratio": "x"}, "a number above 0"),
    ],
)
def test_it_says_what_is_expected_and_what_came(path, value, takes):
    text = message(path, value)
    shown = value["decay_ratio"] if isinstance(value, dict) and "name" in value else value
    path = f"{path}.decay_ratio" if shown is not value else path
    assert text.startswith(f"{path} must be {takes}")
    assert text.endswith(f"; got {shown!r}")
    assert len(text.splitlines()) == 1


def test_an_option_within_a_mapping_is_named():
    assert message("policy.lora", {"rank": "x"}) == "policy.lora.rank must be a whole number; got 'x'"
    assert message("policy.lora", {"rnk": 3}) == "unknown key 'policy.lora.rnk'; did you mean 'rank'?"


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("right", "estimator.conditions.a must be a mapping of on, at_least, otherwise; got 'right'"),
        (["right"], "estimator.conditions.a must be a mapping of on, at_least, otherwise; got ['right']"),
        ({"on": "b", "otherwise": "mising"}, "estimator.conditions.a.otherwise must be zero or missing; got 'mising'"),
        ({"on": "b", "at_least": "x"}, "estimator.conditions.a.at_least must be a number; got 'x'"),
        ({"on": 3}, "estimator.conditions.a.on must be a text; got 3"),
        ({"onn": "b"}, "unknown key 'estimator.conditions.a.onn'; did you mean 'on'?"),
        ({"at_least": 1}, "missing: estimator.conditions.a.on"),
    ],
)
def test_an_entry_of_a_mapping_of_mappings_is_named(entry, fault):
    """Not the whole mapping, as if that were none."""
    tree: Any = copy.deepcopy(CONFIG) | {"estimator": {"name": "conditioned-gdpo", "conditions": {"a": entry}}}
    with pytest.raises(ConfigError) as caught:
        parse(tree, REGISTRY)
    assert str(caught.value).startswith(fault)
