"""Every field of TRL's GRPOConfig has a row, every key of morl that a row names is there, and nearly all have one."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from attrs import fields_dict
from trl import GRPOConfig

from morl.config import schema
from morl.config.sections import NESTED, sections
from morl.plugins import Registry

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def table():
    spec = spec_from_file_location("from_trl", DOCS / "from_trl.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["from_trl"] = module
    spec.loader.exec_module(module)
    return module


def declared() -> set[str]:
    """Fields of the class itself; those that it declares anew with another default only are inherited all the same."""
    return {field.name for field in dataclasses.fields(GRPOConfig)} & {*GRPOConfig.__annotations__}


def known_keys() -> set[str]:
    """Every key that a config may have, with the options of every part."""
    registry = Registry.for_config({})
    tree = {"rewards": {"entry": {}}, "environment": {"name": "x"}, "evaluation": {"prompts": {}}}
    found = {*fields_dict(schema.Config)}
    for section in (*sections(tree), *NESTED.values()):
        path = section.path.replace("rewards.entry", "rewards.<entry>")
        found |= {f"{path}.{name}" for name in fields_dict(section.own)}
        for part in registry.names(section.kind) if section.kind else ():
            found |= {f"{path}.{name}" for name in inspect.signature(part.load()).parameters}
    return found


def test_every_field_of_grpo_config_has_a_row_and_every_row_a_field(table):
    assert declared() == {*table.OWN}
    inherited = {field.name for field in dataclasses.fields(GRPOConfig)} - declared()
    assert {*table.INHERITED} <= inherited


def test_every_key_of_the_table_is_one_of_morls(table):
    named = {key for row in (*table.OWN.values(), *table.INHERITED.values()) for key in row.keys}
    assert len(named) > 60
    assert named <= known_keys()


def test_nearly_all_fields_have_an_equivalent_and_the_others_a_reason(table):
    offered, total = table.share_offered()
    print(f"{offered} of {total} fields of GRPOConfig have an equivalent")
    assert offered / total >= 0.85
    assert all(row.note for row in (*table.OWN.values(), *table.INHERITED.values()) if not row.keys)
