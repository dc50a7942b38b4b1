"""Plugins with a fault: those that are installed are set aside, those that are passed in are an error at once."""

from __future__ import annotations

import re
import sys

import pytest
from plugin_texts import hooks, info, reward_plugin

from morl.errors import PluginError
from morl.hookspecs import hookimpl
from morl.plugins import Registry


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import there_is_no_such_module", "No module named 'there_is_no_such_module'"),
        ("raise RuntimeError('out of luck')", "RuntimeError: out of luck"),
        ("", "offers nothing: no function is marked with morl.hookspecs.hookimpl"),
        ("@hookimpl\ndef morl_register_examples():\n    return {}", "offers nothing"),
        ("@hookimpl\ndef morl_register_reward_provider():\n    return {}", "did you mean 'morl_register_reward_prov"),
        (
            "@hookimpl\ndef morl_register_reward_providers(config):\n    return {}",
            "morl_register_reward_providers takes 'config'; the hook gives nothing",
        ),
        (
            "@hookimpl\ndef morl_rollouts_ready(rollout):\n    pass",
            "morl_rollouts_ready takes 'rollout'; did you mean 'rollouts'?; the hook gives step, rollouts, of which a",
        ),
        ("@hookimpl\nasync def morl_rollouts_ready(step):\n    pass", "morl_rollouts_ready is async, and hooks are"),
        ("@hookimpl\ndef morl_rollouts_ready(step):\n    yield", "morl_rollouts_ready yields, so nothing of it would"),
        (
            "@hookimpl(wrapper=True)\ndef morl_rollouts_ready(step):\n    pass",
            "is marked as a wrapper and does not yield",
        ),
        ("def morl_rollouts_ready(step):\n    pass", "morl_rollouts_ready is not marked with morl.hookspecs.hookimpl"),
        ("@hookimpl\ndef morl_register_reward_providers():\n    return ['a']", "must return a mapping"),
        ("@hookimpl\ndef morl_register_reward_providers():\n    return {'A B': int}", "'A B' is not a name"),
        ("@hookimpl\ndef morl_register_reward_providers():\n    return {'a': 3}", "neither callable nor"),
        ("@hookimpl\ndef morl_register_reward_providers():\n    return {'a': 'no path'}", "neither callable nor"),
        (
            "@hookimpl\ndef morl_register_advantage_estimators():\n    return {'conditioned-x': int}",
            "begins with 'conditioned-'",
        ),
    ],
)
def test_a_broken_plugin_is_set_aside_and_shown(install, code, error):
    install("morl-broken", code)
    install("morl-nice", reward_plugin("nice"))
    registry = Registry()
    assert error in (info(registry, "morl-broken").error or "")
    assert info(registry, "morl-broken").offers == {}
    assert registry.find("reward provider", "nice")
    assert "morl-broken" not in registry.versions()
    with pytest.raises(PluginError, match=r"failed to load: morl-broken 1\.0"):
        registry.find("reward provider", "absent")


@pytest.mark.parametrize("mark", ["wrapper", "hookwrapper", "tryfirst", "trylast"])
def test_marks_that_mean_nothing_to_a_registering_hook_are_refused(install, mark):
    body = "return {}" if mark.startswith("try") else "yield"
    install("morl-marked", f"@hookimpl({mark}=True)\ndef morl_register_reward_providers():\n    {body}\n")
    assert f"morl_register_reward_providers: {mark}=True is for observers" in info(Registry(), "morl-marked").error


def test_a_broken_object_that_is_passed_in_is_an_error_at_once():
    with pytest.raises(PluginError, match="offers nothing"):
        Registry([object()], discover=False)


def test_a_plugin_that_is_refused_for_one_hook_is_not_called_by_another(install, capsys):
    """Of two hooks, pluggy has taken the first by name when it refuses the second."""
    install(
        "morl-half",
        """
        @hookimpl
        def morl_rollouts_ready(step):
            print("called")

        @hookimpl(specname="morl_step_finished", wrapper=True)
        def morl_second(step):
            return iter([])
        """,
    )
    registry = Registry()
    assert "does not yield" in info(registry, "morl-half").error
    registry.observe("morl_rollouts_ready", step=0, rollouts=None)
    assert capsys.readouterr().out == ""


class Twice:
    @hookimpl(wrapper=True)
    def morl_step_finished(self):
        yield
        yield


@pytest.mark.parametrize(
    ("plugins", "fault"),
    [
        ([hooks(morl_register_schedules=lambda self: 1 / 0)], r"^Mine \(passed in\) failed: ZeroDivisionError"),
        ([hooks(morl_register_schedules=lambda self: sys.exit(0))], r"^Mine \(passed in\) failed: SystemExit: 0"),
        (
            [hooks(morl_step_finished=lambda self, nothing: None)],
            r"^Mine \(passed in\): morl_step_finished takes 'nothing'; the hook gives step, metrics,",
        ),
        ([Twice, Twice], "^plugins must be modules or objects with hooks; got <class .*Twice"),
        ([None], "^plugins must be modules or objects with hooks; got None"),
        ([twice := Twice(), twice], r"^Twice \(passed in\) is passed in twice"),
    ],
    ids=["raises", "exits", "arguments", "class", "none", "again"],
)
def test_a_broken_object_in_place_of_a_plugin_is_refused_by_name(plugins, fault):
    with pytest.raises(PluginError, match=re.compile(fault, re.DOTALL)):
        Registry(plugins, discover=False)


@pytest.mark.parametrize("where", ["import", "hook"])
def test_an_installed_plugin_that_exits_is_set_aside(install, where):
    code = "import sys; sys.exit(0)" if where == "import" else "@hookimpl\ndef morl_register_schedules(): exit(0)"
    install("morl-leaves", code)
    (info,) = (info for info in Registry().plugins if info.distribution == "morl-leaves")
    assert info.error == "SystemExit: 0"


def test_a_wrapper_that_yields_twice_is_named():
    registry = Registry([Twice()], discover=False)
    with pytest.raises(PluginError, match=r"plugin Twice \(passed in\) failed: RuntimeError: a wrapper yields once"):
        registry.observe("morl_step_finished", step=0, metrics={})
