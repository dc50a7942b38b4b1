"""The tables of foreign names: every field of TRL's GRPOConfig has a row, and every key that a row names is morl's."""

from __future__ import annotations

import dataclasses
import inspect

import lightning.pytorch as L
import pytest
from attrs import fields_dict
from lightning.pytorch.callbacks import ModelCheckpoint
from trl import GRPOConfig, GRPOTrainer, ModelConfig, ScriptArguments

from morl.config import schema
from morl.config.foreign import common, hints, lightning, trl, verl
from morl.config.sections import NESTED, sections
from morl.plugins import Registry


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


def test_every_field_of_grpo_config_has_a_row_and_every_row_a_field():
    assert declared() == {*trl.OWN}
    inherited = {field.name for field in dataclasses.fields(GRPOConfig)} - declared()
    assert {*trl.INHERITED} <= inherited


def test_the_other_names_are_those_of_trl_and_of_lightning():
    of_trl = {field.name for cls in (ModelConfig, ScriptArguments) for field in dataclasses.fields(cls)}
    of_trl |= {*inspect.signature(GRPOTrainer).parameters}
    # `torch_dtype` has had this name; the others are read by TRL's script for GRPO.
    assert {*trl.SCRIPT} - of_trl <= {"torch_dtype", "reward_funcs", "reward_model_name_or_path"}
    trainer = {*inspect.signature(L.Trainer).parameters} | {*inspect.signature(ModelCheckpoint).parameters}
    assert {*lightning.TRAINER} - trainer == {"gpus", "ckpt_path", "seed_everything"}, "former ones, and those of fit"


TABLES = {
    "own": trl.OWN,
    "inherited": trl.INHERITED,
    "script": trl.SCRIPT,
    "verl": verl.KEYS,
    "l": lightning.TRAINER,
    "usual": common.FLAT,
    "usual in a section": {
        f"{section}.{name}": row
        for section, rows in common.SECTIONS.items()
        if section != "rewards"
        for name, row in rows.items()
    },
}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_every_key_of_the_tables_is_one_of_morls(rows):
    named = {key for row in rows.values() for key in row.keys}
    mappings = {f"policy.{key}.{each}" for key, options in schema.MAPPINGS.items() for each in fields_dict(options)}
    assert len(named) > 10
    assert named <= known_keys() | mappings
    assert all(row.note for row in rows.values() if not row.keys), "what has no equivalent has a reason"


def test_no_usual_name_is_a_key_already():
    """Each would be in the way of what it names."""
    own = {f"{section}.{key}" for section, keys in schema.KEYS.items() for key in keys}
    assert not {f"{section}.{name}" for section, rows in common.SECTIONS.items() for name in rows} & own
    assert not {*common.FLAT} & {*fields_dict(schema.Config), *trl.OWN, *trl.INHERITED, *trl.SCRIPT, *lightning.TRAINER}
    assert {f"{section}.name" for section in common.CHOOSES} <= known_keys()
    entry = {key.rpartition(".")[2] for key in known_keys() if key.startswith("rewards.<entry>.")}
    assert {key for row in common.SECTIONS["rewards"].values() for key in row.keys} <= entry


def test_nearly_all_fields_have_an_equivalent():
    offered, total = trl.share_offered()
    print(f"{offered} of {total} fields of GRPOConfig have an equivalent")
    assert offered / total >= 0.85


def test_no_key_of_a_config_of_morl_is_taken_for_a_foreign_one():
    """A name is only looked up where morl does not know it; top-level keys of verl must not be sections of morl."""
    assert {key.partition(".")[0] for key in verl.KEYS} & {*fields_dict(schema.Config)} == {"trainer"}
    assert hints("trainer", {"total_epochs": 3}) == [
        "verl's trainer.total_epochs is training.epochs: rounded up to whole steps"
    ]
