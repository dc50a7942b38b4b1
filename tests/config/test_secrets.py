"""Secrets are looked up when a part is made, and stand in no config; configs make callbacks and loggers only."""

from __future__ import annotations

import lightning.pytorch as L
import pytest
from lightning.pytorch.loggers import CSVLogger, Logger

from morl.config import parse
from morl.config.load import to_yaml
from morl.errors import ConfigError
from morl.plugins import Registry
from morl.runtime.parts import build_parts
from morl.training.trainer import build_objects

SECRET = "sk-very-secret"


def needs_key(completions, api_key, **columns):
    return [float(api_key == SECRET) for _ in completions]


def tree(arguments):
    reward = {"name": "python", "function": f"{__file__}:needs_key", "arguments": arguments}
    return {"policy": {"path": "model"}, "prompts": {"path": "prompts.jsonl"}, "rewards": {"judge": reward}}


def test_a_reference_is_looked_up_for_the_part_and_stays_in_the_config(monkeypatch):
    monkeypatch.setenv("MORL_TEST_KEY", SECRET)
    registry = Registry.for_config({})
    config = parse(tree({"api_key": "${env:MORL_TEST_KEY}"}), registry)
    assert SECRET not in to_yaml(config)
    assert "${env:MORL_TEST_KEY}" in to_yaml(config)
    provider = build_parts(config, registry).scorer.entries["judge"].provider
    assert provider.arguments == {"api_key": SECRET}
    assert SECRET not in repr(provider)
    assert parse(to_tree(config), registry) == config, "and can be read again"


def to_tree(config):
    from morl.config.load import to_mapping

    return to_mapping(config)


def test_references_within_texts_and_lists(monkeypatch):
    monkeypatch.setenv("MORL_TEST_KEY", SECRET)
    from morl.config.secrets import with_secrets

    options = {"headers": [{"Authorization": "Bearer ${env:MORL_TEST_KEY}"}], "n": 3, "pattern": "$5 {env}"}
    found = with_secrets(options, "rewards.judge")
    assert found == {"headers": [{"Authorization": f"Bearer {SECRET}"}], "n": 3, "pattern": "$5 {env}"}
    assert "MORL" in options["headers"][0]["Authorization"], "the config itself is left alone"


def test_a_variable_that_is_not_set_is_an_error_before_anything_is_loaded(monkeypatch):
    monkeypatch.delenv("MORL_TEST_KEY", raising=False)
    registry = Registry.for_config({})
    config = parse(tree({"api_key": "${env:MORL_TEST_KEY}"}), registry)
    message = r"rewards.judge.arguments.api_key refers to the environment variable MORL_TEST_KEY, which is not set"
    with pytest.raises(ConfigError, match=message):
        build_parts(config, registry)


@pytest.mark.parametrize("key", ["api_key", "API-Key", "openai_api_key", "hf_token", "password", "Authorization"])
def test_a_secret_as_it_is_is_refused_and_not_shown(key):
    with pytest.raises(ConfigError, match=rf"rewards.judge.arguments.{key} holds a secret.*\$\{{env:NAME\}}") as caught:
        parse(tree({"api_key": "${env:X}", key: SECRET}), Registry.for_config({}))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["max_tokens", "stop_token", "api_key_variable", "key_variable", "keywords"])
def test_other_keys_are_no_secrets(key):
    parse(tree({key: "VALUE"}), Registry.for_config({}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "${env:HOME}/run"}, r"output: \$\{env:HOME\} is looked up in the options of parts only"),
        ({"rewards": {"a": {"name": "regex", "pattern": "${env:}"}}}, "takes the name of an environment variable"),
    ],
)
def test_references_elsewhere_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        parse({**tree({}), **changes}, Registry.for_config({}))


def test_an_error_of_a_part_does_not_show_the_secret(monkeypatch):
    monkeypatch.setenv("MORL_TEST_KEY", SECRET)
    registry = Registry.for_config({})
    reward = {"name": "regex", "pattern": "[${env:MORL_TEST_KEY}"}
    config = parse({**tree({}), "rewards": {"a": reward}}, registry)
    with pytest.raises(ConfigError, match=r"\$\{env:MORL_TEST_KEY\}") as caught:
        build_parts(config, registry)
    assert SECRET not in str(caught.value)


class Noted(L.Callback):
    def __init__(self, key: str) -> None:
        self.key = key


def test_callbacks_are_callbacks_and_loggers_loggers(monkeypatch, tmp_path):
    monkeypatch.setenv("MORL_TEST_KEY", SECRET)
    given = [{"class_path": f"{__name__}.Noted", "init_args": {"key": "${env:MORL_TEST_KEY}"}}]
    (made,) = build_objects(given, "trainer.callbacks", L.Callback)
    assert made.key == SECRET
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path)}}
    (found,) = build_objects([logger], "trainer.loggers", Logger)
    assert isinstance(found, CSVLogger)


@pytest.mark.parametrize(
    "class_path",
    ["subprocess.getoutput", "subprocess.Popen", "builtins.exec", "os.system", "lightning.pytorch.loggers.CSVLogger"],
)
def test_anything_else_is_refused_before_it_is_called(class_path, tmp_path):
    given = [
        {"class_path": class_path, "init_args": {"cmd": f"touch {tmp_path}/here", "args": f"touch {tmp_path}/here"}}
    ]
    with pytest.raises(
        ConfigError, match=r"trainer.callbacks\[0\]: class_path must name a class derived from lightning"
    ):
        build_objects(given, "trainer.callbacks", L.Callback)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"class_path": "nowhere.Class"}, "nowhere.Class cannot be imported"),
        ({"class_path": "lightning.pytorch.Calback"}, "cannot be imported"),
        ({"path": "lightning.pytorch.Callback"}, "the keys class_path and init_args"),
        ({"class_path": "lightning.pytorch.Callback", "init_args": {"unknown": 1}}, "cannot be made"),
    ],
)
def test_callbacks_that_cannot_be_made_are_named(given, message):
    with pytest.raises(ConfigError, match=message):
        build_objects([given], "trainer.callbacks", L.Callback)
