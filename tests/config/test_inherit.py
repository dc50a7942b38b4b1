"""What held-out prompts take from the training prompts."""

from __future__ import annotations

import pytest

from morl.config.load import parse, to_mapping
from morl.plugins import Registry

TRAINING = {"path": "train.jsonl", "chat": True, "system": "Be brief.", "prompt": "question", "limit": 9}
TEMPLATE = {"chat_template_kwargs": {"enable_thinking": False}, "tools_column": "tools", "max_prompt_tokens": 7}


def held_out(training, own):
    """Section `evaluation.prompts` of the resolved config, and the options of its source."""
    tree = {"policy": {"path": "m"}, "prompts": training, "evaluation": {"prompts": own}}
    registry = Registry.for_config(tree)
    config = parse(tree, registry)
    # What a run writes down means the same when it is read again.
    assert parse(to_mapping(config), registry) == config
    assert config.evaluation is not None
    return config.evaluation.prompts, config.evaluation.prompts.options


def test_the_form_is_inherited_and_the_rows_are_not():
    section, options = held_out(TRAINING | TEMPLATE, {"path": "test.jsonl"})
    assert options == {"path": "test.jsonl", "chat": True, "system": "Be brief.", "prompt": "question",
                       "template": None, "limit": None}  # fmt: skip
    assert section.chat_template_kwargs == {"enable_thinking": False}
    assert (section.tools_column, section.max_prompt_tokens) == ("tools", None)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"chat": False}, {"chat": False, "system": None, "prompt": "question"}),
        ({"system": None}, {"chat": False, "system": None, "prompt": "question"}),
        ({"system": "Think."}, {"chat": False, "system": "Think.", "prompt": "question"}),
        ({"prompt": "problem"}, {"chat": True, "system": "Be brief.", "prompt": "problem"}),
        ({"template": "{problem}"}, {"chat": True, "prompt": "prompt", "template": "{problem}"}),
        ({"name": "datasets"}, {"chat": True, "system": "Be brief.", "prompt": "question", "split": "train"}),
    ],
)
def test_what_the_held_out_prompts_say_themselves_counts(own, expected):
    _, options = held_out(TRAINING, {"path": "test.jsonl", **own})
    assert {key: options[key] for key in expected} == expected


def test_fields_of_the_template_may_be_taken_back():
    section, _ = held_out(TRAINING | TEMPLATE, {"path": "x", "chat_template_kwargs": {}, "tools_column": None})
    assert section.chat_template_kwargs == {}
    assert section.tools_column is None


def test_sources_that_do_not_share_an_option_do_not_inherit_it():
    class Own:
        def __init__(self, path: str, system: str | None = None, template: str = "{}") -> None:
            """A source of its own, whose `template` means something else."""

    plugin = type("Plugin", (), {"morl_register_prompt_sources": staticmethod(lambda: {"own": Own})})
    from morl.hookspecs import hookimpl

    plugin.morl_register_prompt_sources = staticmethod(hookimpl(plugin.morl_register_prompt_sources))
    training = {"path": "a", "template": "{question}", "system": "Be brief."}
    held_out = {"name": "own", "path": "b"}
    tree = {"policy": {"path": "m"}, "prompts": training, "evaluation": {"prompts": held_out}}
    config = parse(tree, Registry.for_config(tree, [plugin()]))
    assert config.evaluation.prompts.options == {"path": "b", "system": "Be brief.", "template": "{}"}
