"""Plugins as users meet them: distributions on the path with an entry point, and how their parts are found."""

from __future__ import annotations

import pytest
from plugin_texts import info, reward_plugin

from morl.errors import PluginError
from morl.hookspecs import REGISTERING_HOOKS, hookimpl
from morl.plugins import Registry


def test_every_builtin_can_be_imported():
    registry = Registry(discover=False)
    found = [part for kind in REGISTERING_HOOKS for part in registry.names(kind)]
    assert {part.kind for part in found} == set(REGISTERING_HOOKS)
    for part in found:
        assert callable(part.load())


def test_an_installed_plugin_is_found_with_its_distribution(install):
    install("morl-nice", reward_plugin("nice"), version="2.3")
    registry = Registry()
    assert registry.find("reward provider", "nice").plugin.label == "morl-nice 2.3"
    assert info(registry, "morl-nice").offers == {"reward provider": ["nice"]}
    assert registry.versions()["morl-nice"] == "2.3"


def test_an_unknown_name_is_answered_with_near_ones_and_the_whole_list(install):
    code = "@hookimpl\ndef morl_register_advantage_estimators():\n    return {'other-rloo': lambda: None}\n"
    install("morl-extra", code)
    with pytest.raises(PluginError) as caught:
        Registry().find("advantage estimator", "gdop")
    message = str(caught.value)
    assert "unknown advantage estimator 'gdop'; did you mean 'gdpo'?" in message
    assert "gdpo, grpo, grpo-no-std (morl)" in message
    assert "other-rloo (morl-extra 1.0)" in message


def test_a_misspelt_conditioned_name_suggests_the_conditioned_one():
    with pytest.raises(PluginError, match="did you mean 'gdpo'"):
        Registry(discover=False).find("advantage estimator", "conditioned-gdop")


def test_a_conditioned_form_exists_for_third_party_estimators(install):
    install(
        "morl-extra",
        """
        from attrs import frozen

        @frozen
        class Rloo:
            '''Leave one out.

            Args:
                scale: factor.
            '''
            scale: float = 1.0

            def __call__(self, rewards):
                raise AssertionError

        @hookimpl
        def morl_register_advantage_estimators():
            return {"other-rloo": Rloo}
        """,
    )
    factory = Registry().find("advantage estimator", "conditioned-other-rloo").load()
    made = factory(scale=2.0, conditions={"length": {"on": "correct"}})
    assert made.inner.scale == 2.0


def test_an_optional_hook_of_another_version_is_passed_over(install):
    hook = "@hookimpl(optionalhook=True)\n    def morl_register_something_new():\n        return {}\n"
    install("morl-nice", reward_plugin("nice") + "\n    " + hook)
    assert Registry().find("reward provider", "nice")
    install("morl-renamed", "@hookimpl(specname='morl_register_reward_providers')\ndef mine():\n    return {'x': int}")
    assert Registry().find("reward provider", "x")


def test_the_same_name_may_stand_for_parts_of_two_kinds(install):
    install("morl-both", reward_plugin("gdpo"))
    assert Registry().find("reward provider", "gdpo").plugin.distribution == "morl-both"


def test_a_path_that_cannot_be_imported_fails_when_it_is_used_and_says_whose_it_is(install):
    install("morl-late", "@hookimpl\ndef morl_register_reward_providers():\n    return {'late': 'gone.away:Reward'}\n")
    registry = Registry()
    with pytest.raises(PluginError, match=r"reward provider 'late' of morl-late 1\.0 cannot be imported from 'gone"):
        registry.find("reward provider", "late").load()


def test_a_name_may_have_a_plus():
    class Plugin:
        @hookimpl
        def morl_register_advantage_estimators(self):
            return {"reinforce++": "morl.advantage:GDPO", "a++-b": "morl.advantage:GDPO"}

    registry = Registry(plugins=[Plugin()], discover=False)
    names = {registered.name for registered in registry.names("advantage estimator")}
    assert {"reinforce++", "a++-b", "gdpo"} <= names
