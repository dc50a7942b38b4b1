"""Plugins as users meet them: distributions on the path with an entry point, good and broken."""

from __future__ import annotations

import re
import sys
import textwrap

import pytest

from morl.errors import ConfigError, PluginError
from morl.hookspecs import REGISTERING_HOOKS, hookimpl
from morl.interrupts import Terminated
from morl.plugins import DuplicateNameError, Registry, disabled


def reward_plugin(name: str) -> str:
    return f"""
    @hookimpl
    def morl_register_reward_providers():
        return {{"{name}": lambda: None}}
    """


def info(registry, name):
    (found,) = (plugin for plugin in registry.plugins if plugin.name == name)
    return found


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


@pytest.mark.parametrize("mark", ["wrapper", "hookwrapper", "tryfirst", "trylast"])
def test_marks_that_mean_nothing_to_a_registering_hook_are_refused(install, mark):
    body = "return {}" if mark.startswith("try") else "yield"
    install("morl-marked", f"@hookimpl({mark}=True)\ndef morl_register_reward_providers():\n    {body}\n")
    assert f"morl_register_reward_providers: {mark}=True is for observers" in info(Registry(), "morl-marked").error


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


class Observer:
    def __init__(self):
        self.seen = []

    @hookimpl
    def morl_rollouts_ready(self, step, rollouts):
        if rollouts is None:
            raise ValueError("nothing there")
        self.seen.append((step, rollouts))


def test_an_object_can_be_passed_as_a_plugin_and_observes():
    observer = Observer()
    registry = Registry([observer], discover=False)
    registry.observe("morl_rollouts_ready", step=3, rollouts="batch")
    assert observer.seen == [(3, "batch")]
    assert info(registry, "Observer").observes == ["morl_rollouts_ready"]


def test_an_observer_that_raises_is_named():
    with pytest.raises(PluginError, match=r"morl_rollouts_ready of plugin Observer .*failed: ValueError: nothing"):
        Registry([Observer()], discover=False).observe("morl_rollouts_ready", step=0, rollouts=None)


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


def test_parameters_of_an_observer_may_have_defaults():
    seen = []

    class Defaults:
        @hookimpl
        def morl_rollouts_ready(self, step, rollouts=None, of_another_version=3):
            seen.append((step, rollouts, of_another_version))

    Registry([Defaults()], discover=False).observe("morl_rollouts_ready", step=1, rollouts={"x": 1})
    assert seen == [(1, {"x": 1}, 3)]


def observer(name, calls, **marks):
    """An observer that notes when it was called, in the form that its marks ask for."""
    if marks.get("wrapper") or marks.get("hookwrapper"):

        def function(self, step):
            calls.append(f"{name} before")
            outcome = yield
            calls.append(f"{name} after")
            return None if marks.get("hookwrapper") else outcome

    else:

        def function(self, step):
            calls.append(name)

    return type(name, (), {"morl_rollouts_ready": hookimpl(**marks)(function)})()


def test_observers_come_in_the_order_that_pluggy_gives_them():
    calls = []
    observers = [
        observer("last", calls, trylast=True),
        observer("one", calls),
        observer("first", calls, tryfirst=True),
        observer("two", calls),
        observer("new", calls, wrapper=True),
        observer("old", calls, hookwrapper=True),
    ]
    Registry(observers, discover=False).observe("morl_rollouts_ready", step=3, rollouts=None)
    middle = ["first", "two", "one", "last"]
    assert calls == ["old before", "new before", *middle, "new after", "old after"]


@pytest.mark.parametrize("mark", ["wrapper", "hookwrapper"])
def test_an_error_in_a_wrapped_observer_bears_the_name_of_the_one_that_raised(mark):
    class Fails:
        @hookimpl
        def morl_rollouts_ready(self, step):
            raise OSError("disk full")

    calls = []
    registry = Registry([Fails(), observer("around", calls, **{mark: True})], discover=False)
    with pytest.raises(PluginError, match=r"^morl_rollouts_ready of plugin Fails .*failed: OSError: disk full$"):
        registry.observe("morl_rollouts_ready", step=0, rollouts=None)
    assert calls[0] == "around before"


def test_a_wrapper_that_raises_is_named():
    class Around:
        @hookimpl(wrapper=True)
        def morl_rollouts_ready(self, step):
            yield
            raise ValueError("afterwards")

    with pytest.raises(PluginError, match=r"plugin Around \(passed in\) failed: ValueError: afterwards"):
        Registry([Around()], discover=False).observe("morl_rollouts_ready", step=0, rollouts=None)


def test_an_observer_cannot_change_what_others_see():
    class Scribbles:
        @hookimpl(tryfirst=True)
        def morl_step_finished(self, step, metrics):
            metrics.clear()

    seen = []

    class Reads:
        @hookimpl
        def morl_step_finished(self, metrics):
            seen.append(metrics)

    metrics = {"loss": 1.0}
    Registry([Reads(), Scribbles()], discover=False).observe("morl_step_finished", step=0, metrics=metrics)
    assert seen == [metrics] == [{"loss": 1.0}]
    assert seen[0] is not metrics


def test_a_name_may_have_a_plus():
    class Plugin:
        @hookimpl
        def morl_register_advantage_estimators(self):
            return {"reinforce++": "morl.advantage:GDPO", "a++-b": "morl.advantage:GDPO"}

    registry = Registry(plugins=[Plugin()], discover=False)
    names = {registered.name for registered in registry.names("advantage estimator")}
    assert {"reinforce++", "a++-b", "gdpo"} <= names


def hooks(**functions):
    """A plugin with these hooks."""
    return type("Mine", (), {name: hookimpl(function) for name, function in functions.items()})()


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


def test_two_objects_of_one_class_are_two_plugins():
    calls = []
    plugins = [hooks(morl_step_finished=lambda self, step: calls.append(step)) for _ in range(2)]
    Registry(plugins, discover=False).observe("morl_step_finished", step=3, metrics={})
    assert calls == [3, 3]


@pytest.mark.parametrize("where", ["import", "hook"])
def test_an_installed_plugin_that_exits_is_set_aside(install, where):
    code = "import sys; sys.exit(0)" if where == "import" else "@hookimpl\ndef morl_register_schedules(): exit(0)"
    install("morl-leaves", code)
    (info,) = (info for info in Registry().plugins if info.distribution == "morl-leaves")
    assert info.error == "SystemExit: 0"


def test_an_observer_that_exits_does_not_end_the_run_as_if_it_had_finished():
    registry = Registry([hooks(morl_step_finished=lambda self: sys.exit(0))], discover=False)
    with pytest.raises(PluginError, match=r"^morl_step_finished of plugin Mine \(passed in\) failed: SystemExit: 0"):
        registry.observe("morl_step_finished", step=0, metrics={})


def test_a_wrapper_that_yields_twice_is_named():
    registry = Registry([Twice()], discover=False)
    with pytest.raises(PluginError, match=r"plugin Twice \(passed in\) failed: RuntimeError: a wrapper yields once"):
        registry.observe("morl_step_finished", step=0, metrics={})


def test_a_wrapper_may_handle_what_is_inside_and_sigterm_passes_through_all():
    def fails(self):
        raise OSError("disk full")

    class Handles:
        @hookimpl(wrapper=True)
        def morl_step_finished(self):
            try:
                return (yield)
            except PluginError:
                return None

    def terminated(self):
        raise Terminated

    Registry([hooks(morl_step_finished=fails), Handles()], discover=False).observe(
        "morl_step_finished", step=0, metrics={}
    )
    with pytest.raises(Terminated):
        Registry([hooks(morl_step_finished=terminated), Handles()], discover=False).observe(
            "morl_step_finished", step=0, metrics={}
        )
