"""Every key of the schema with values that it cannot have: refused in one screen, or taken as what it is declared."""

from __future__ import annotations

import copy
import warnings

import pytest
import yaml

from morl.config.load import parse, to_mapping, without_nulls
from morl.config.parser import build_parser, hints
from morl.config.sections import spelt_out
from morl.config.values import refuse_values
from morl.errors import ConfigError, MorlError
from morl.plugins import Registry
from morl.runtime.checks import check_settings
from morl.runtime.parts import build_parts

REGISTRY = Registry(discover=False)
CONFIG = {
    "policy": {"path": "model", "lora": {"rank": 4}},
    "prompts": {"path": "prompts.jsonl"},
    "rewards": {"short": {"name": "length", "limit": 8}},
    "evaluation": {"prompts": {"path": "prompts.jsonl"}},
}
WRONG = ("text", -1, ["", None], 1e20, {"a": None}, 10**30, float("inf"), True)
NULLABLE = {
    *("prompts.max_prompt_tokens", "prompts.chat_template", "prompts.system", "prompts.limit", "trainer.threads"),
    *("rewards.short.timeout", "rewards.short.bounds", "rewards.short.when", "rollout.max_logprob_difference"),
    *("training.micro_batch_tokens", "training.keep_best", "training.push_to_hub", "evaluation.temperature"),
}
"""Some of those whose declaration says that null means something."""


def leaves(tree, at=()):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*at, key))
        else:
            yield (*at, key)


def put(tree, path, value):
    tree = copy.deepcopy(tree)
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return tree


def refusal(check, *arguments):
    """The error that a check ends with; None if it does not."""
    try:
        check(*arguments)
    except MorlError as error:
        return error
    return None


@pytest.fixture(scope="module")
def full():
    """The config with every key."""
    return to_mapping(parse(CONFIG, REGISTRY))


@pytest.fixture(scope="module")
def declared(full):
    return hints(build_parser(spelt_out(full, REGISTRY, frozenset()), REGISTRY))


def test_null_is_taken_where_it_is_declared_and_nowhere_else(full, declared):
    keys = {".".join(path): put(full, path, None) for path in leaves(full) if ".".join(path) in declared}
    assert len(keys) > 100
    refused = {key: refusal(refuse_values, without_nulls(tree), declared) for key, tree in keys.items()}
    taken = {key for key, error in refused.items() if error is None}
    assert all(f"{key} must have a value; got null" in str(refused[key]) for key in keys.keys() - taken)
    assert taken >= NULLABLE
    by_default = {key for key, tree in keys.items() if tree == full}
    assert by_default <= taken, "what is null by default may be so"
    for key in taken - by_default - NULLABLE:
        assert "None" in str(declared[key]) or "Any" in str(declared[key]) or key.endswith("lora"), key


@pytest.mark.parametrize("key", ["training.group_size", "policy.dtype", "rewards.short.limit", "output", "seed"])
def test_a_null_is_refused_by_the_command(full, key):
    with pytest.raises(ConfigError, match=f"{key} must have a value; got null; leave the key out"):
        parse(put(full, key.split("."), None), REGISTRY)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("training.steps", 1e20, r"training.steps must be a number below 2\^63; got 1e\+20"),
        ("seed", 10**30, r"seed must be a number below 2\^63"),
        ("optimizer.lr", float("nan"), "optimizer.lr must be a finite number; got NaN"),
        ("sampling.stop", [""], "sampling.stop must be a list of texts, none of them empty"),
        ("output", "${OUTDIR}/run", r"output=\$\{OUTDIR\}/run: \$\{OUTDIR\} is not expanded; write the path itself"),
        ("output", "$HOME/run", r"output=\$HOME/run: \$HOME is not expanded"),
        ("output", "~/run", "~ is not expanded"),
        ("output", f"runs/{'ä' * 128}", "no path has a null byte, or a name of more than 255 bytes"),
        ("prompts.path", "~/prompts.jsonl", "prompts.path=~/prompts.jsonl: ~ is not expanded; write the path itself"),
        ("prompts.path", "a\0b", "no path has a null byte"),
        ("policy.path", "a" * 256, "or a name of more than 255 bytes"),
        ("policy.path", "${MODELS}/x", r"policy.path=.*: \$\{MODELS\} is not expanded; .* or \$\{env:MODELS\}"),
        ("prompts.path", "$DATA", r"prompts.path=\$DATA: \$DATA is not expanded"),
        ("rewards.short.timeout", 1e20, r"timeout must be positive seconds below 9e\+09, or null"),
        ("policy.router_loss_coef", float("inf"), "policy.router_loss_coef must be finite"),
        ("sampling.temperature", float("inf"), "'temperature' must be < inf"),
        ("policy.lora.alpha", float("inf"), "'alpha' must be < inf"),
    ],
)
def test_what_nothing_can_be_done_with_is_refused(full, key, value, said):
    with pytest.raises(ConfigError, match=said):
        checked(put(full, key.split("."), value))


def test_references_to_the_environment_and_dollars_elsewhere_stay(full):
    tree = put(full, ("prompts", "path"), "${env:DATA}/prompts.jsonl")
    tree = put(tree, ("rewards", "price"), {"name": "regex", "pattern": r"\${cost}|$x"})
    assert parse(tree, REGISTRY).rewards["price"].options["pattern"] == r"\${cost}|$x"


def checked(tree):
    config = parse(tree, REGISTRY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_settings(config, build_parts(config, REGISTRY))
    return config


@pytest.mark.slow
def test_no_key_takes_a_wrong_value_or_ends_in_a_traceback(full):
    """Every key with one of the wrong values, by turns."""
    paths = [path for path in leaves(full) if path[0] != "trainer" or path[1] not in ("callbacks", "loggers")]
    trees = [put(full, path, WRONG[number % len(WRONG)]) for number, path in enumerate(paths)]
    errors = [refusal(checked, tree) for tree in trees]
    assert all(len(str(error)) < 2000 and len(str(error).splitlines()) < 20 for error in errors if error)
    assert sum(error is None for error in errors) < len(paths) / 2
    for tree, error in zip(trees, errors, strict=True):
        if error is None:
            yaml.safe_dump(to_mapping(parse(tree, REGISTRY)))
