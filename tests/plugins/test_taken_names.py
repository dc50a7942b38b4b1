"""Two plugins with one name, and plugins that are switched off."""

from __future__ import annotations

import textwrap

import pytest
from plugin_texts import info, reward_plugin

from morl.errors import ConfigError, PluginError
from morl.hookspecs import hookimpl
from morl.plugins import DuplicateNameError, Registry, disabled


def test_of_two_plugins_with_one_name_the_second_is_set_aside_and_the_name_is_nobodys(install):
    install("morl-one", reward_plugin("same"))
    install("morl-two", reward_plugin("same"), version="0.5")
    install("morl-nice", reward_plugin("nice"))
    registry = Registry()
    assert "'same' is registered twice: by morl-one 1.0 and by morl-two 0.5" in info(registry, "morl-two").error
    assert info(registry, "morl-one").error is None
    assert registry.find("reward provider", "nice"), "a run that needs another name is not stopped"
    with pytest.raises(DuplicateNameError, match=r"by morl-one 1\.0 and by morl-two 0\.5; .*disable=\[morl-two\]"):
        registry.find("reward provider", "same")
    for off, owner in (("morl-two", "morl-one"), ("morl-one", "morl-two")):
        registry = Registry(disable=[off])
        assert registry.find("reward provider", "same").plugin.name == owner
        assert info(registry, off).disabled


def test_a_third_claim_is_named_as_well(install):
    for name in ("morl-one", "morl-three", "morl-two"):
        install(name, reward_plugin("same"))
    with pytest.raises(DuplicateNameError, match=r"by morl-one 1\.0 and by morl-three 1\.0 and by morl-two 1\.0"):
        Registry().find("reward provider", "same")


def test_what_a_plugin_with_a_taken_name_offers_besides_is_set_aside_with_it(install):
    install("morl-one", reward_plugin("same"))
    code = "@hookimpl\ndef morl_register_reward_providers():\n    return {'other': int, 'same': int}\n"
    install("morl-two", code + "@hookimpl\ndef morl_rollouts_ready(step):\n    raise AssertionError\n")
    registry = Registry()
    with pytest.raises(PluginError, match=r"unknown reward provider 'other'.*\n.*\n.*failed to load: morl-two 1\.0"):
        registry.find("reward provider", "other")
    registry.observe("morl_rollouts_ready", step=0, rollouts=None)


def test_a_plugin_that_takes_a_name_of_morl_stops_the_runs_that_need_it(install):
    install("morl-thief", "@hookimpl\ndef morl_register_advantage_estimators():\n    return {'gdpo': int}\n")
    registry = Registry()
    assert registry.find("advantage estimator", "grpo")
    for name in ("gdpo", "conditioned-gdpo"):
        with pytest.raises(DuplicateNameError, match=r"'gdpo' is registered twice: by morl-llm .* and by morl-thief 1"):
            registry.find("advantage estimator", name)
    assert Registry(disable=["morl-thief"]).find("advantage estimator", "gdpo").plugin.name == "morl"


def test_an_object_with_a_taken_name_is_an_error_at_once():
    class Thief:
        @hookimpl
        def morl_register_advantage_estimators(self):
            return {"gdpo": int}

    with pytest.raises(DuplicateNameError, match=r"by morl-llm .* and by Thief \(passed in\)"):
        Registry([Thief()], discover=False)


def test_a_plugin_that_is_switched_off_is_not_even_imported(install):
    install("morl-costly", "raise SystemExit('imported')")
    observer = "@hookimpl\ndef morl_rollouts_ready(step):\n    raise AssertionError\n"
    install("morl-loud", reward_plugin("loud") + textwrap.indent(observer, "    "))
    registry = Registry(disable=["morl-costly", "morl-loud"])
    assert [plugin.name for plugin in registry.plugins if plugin.disabled] == ["morl-costly", "morl-loud"]
    registry.observe("morl_rollouts_ready", step=0, rollouts=None)
    with pytest.raises(PluginError, match="unknown reward provider 'loud'"):
        registry.find("reward provider", "loud")
    assert not {"morl-costly", "morl-loud"} & {*registry.versions()}


def test_disabling_can_be_changed_and_knows_what_there_is(install):
    install("morl-nice", reward_plugin("nice"))
    registry = Registry()
    registry.disable(["morl-nice"])
    with pytest.raises(PluginError):
        registry.find("reward provider", "nice")
    registry.disable([])
    assert registry.find("reward provider", "nice")
    with pytest.raises(ConfigError, match=r"disable: no plugin 'morl-nicer'; did you mean 'morl-nice'\?\n  plugins: "):
        registry.disable(["morl-nicer"])
    with pytest.raises(ConfigError, match="morl's own parts cannot be switched off"):
        Registry(disable=["morl"])


@pytest.mark.parametrize("section", [3, {"disable": 3}, {"disable": [1]}, ["a", 2]])
def test_a_section_plugins_of_another_form_is_refused(section):
    with pytest.raises(ConfigError, match=r"plugins must be \{disable: \[NAME, \.\.\]\}"):
        disabled({"plugins": section})
