"""Observers: what they are given, in which order they come, and who is named when one of them fails."""

from __future__ import annotations

import sys

import pytest
from plugin_texts import hooks, info

from morl.errors import PluginError
from morl.hookspecs import hookimpl
from morl.interrupts import Terminated
from morl.plugins import Registry


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


def test_two_objects_of_one_class_are_two_plugins():
    calls = []
    plugins = [hooks(morl_step_finished=lambda self, step: calls.append(step)) for _ in range(2)]
    Registry(plugins, discover=False).observe("morl_step_finished", step=3, metrics={})
    assert calls == [3, 3]


def test_an_observer_that_raises_is_named():
    with pytest.raises(PluginError, match=r"morl_rollouts_ready of plugin Observer .*failed: ValueError: nothing"):
        Registry([Observer()], discover=False).observe("morl_rollouts_ready", step=0, rollouts=None)


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


def test_an_observer_that_exits_does_not_end_the_run_as_if_it_had_finished():
    registry = Registry([hooks(morl_step_finished=lambda self: sys.exit(0))], discover=False)
    with pytest.raises(PluginError, match=r"^morl_step_finished of plugin Mine \(passed in\) failed: SystemExit: 0"):
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
