"""A parser that was built is used again for the very same parts, and for no others."""

from __future__ import annotations

import pytest

from morl.config.load import parse
from morl.config.parser import build_parser, shared_parser
from morl.errors import ConfigError
from morl.hookspecs import hookimpl
from morl.plugins import Registry

CONFIG = {
    "policy": {"path": "model"},
    "prompts": {"path": "prompts.jsonl"},
    "rewards": {"short": {"name": "length", "limit": 8}},
}


class Unhashable(type):
    """Of classes that are equal to each other and have no hash."""

    def __eq__(cls, other):
        return type(other) is Unhashable

    __hash__ = None  # type: ignore[assignment]


def offering(parameters):
    """A registry with a reward `mine` that takes these parameters."""
    namespace: dict[str, object] = {}
    text = f"def __init__(self, {parameters}): pass"
    exec(compile(text, "mine", "exec", dont_inherit=True), namespace)

    class Plugin:
        @hookimpl
        def morl_register_reward_providers(self):
            return {"mine": Unhashable("Mine", (), namespace)}

    return Registry([Plugin()], discover=False)


def test_the_same_parts_have_one_parser_whatever_their_options_and_others_have_another():
    registry = Registry(discover=False)
    longer = {**CONFIG, "rewards": {"short": {"name": "length", "limit": 9}}}
    renamed = {**CONFIG, "rewards": {"brief": {"name": "length", "limit": 8}}}
    first = shared_parser(CONFIG, registry)
    assert shared_parser(longer, Registry(discover=False)) is first
    assert shared_parser(renamed, registry) is not first
    assert build_parser(CONFIG, registry) is not first


def test_another_factory_of_the_same_name_is_another_part_even_where_it_claims_to_be_equal():
    config = {**CONFIG, "rewards": {"it": {"name": "mine", "old": 1}}}
    assert parse(config, offering("old: int")).rewards["it"].options == {"old": 1}
    with pytest.raises(ConfigError, match=r"unknown key 'rewards\.it\.old'"):
        parse(config, offering("new: int"))
    with pytest.raises(ConfigError, match=r"rewards\.it\.old"):
        parse({**CONFIG, "rewards": {"it": {"name": "mine", "old": "text"}}}, offering("old: int"))


def test_what_one_config_was_read_as_is_not_what_the_next_one_is():
    registry = offering("words: list = ['a']")
    config = {**CONFIG, "rewards": {"it": {"name": "mine"}}}
    first = parse({**config, "training": {"group_size": 4}}, registry)
    first.rewards["it"].options["words"].append("b")
    second = parse(config, registry)
    assert second.rewards["it"].options == {"words": ["a"]}
    assert first.training.group_size == 4 != second.training.group_size
