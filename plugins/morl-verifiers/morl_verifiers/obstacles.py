"""What keeps a taskset from being run without verifiers' own processes, each thing by its name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any


def needs_runtime(function: Callable[..., Any]) -> bool:
    """Whether it cannot be called without a runtime."""
    parameter = inspect.signature(function).parameters.get("runtime")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def of_taskset(taskset: Any, identifier: str | None, task: Any) -> Iterator[str]:
    """What its rewards cannot do without.

    Args:
        taskset: of verifiers.
        identifier: of the package that it was found by; None for a class in a file.
        task: one of its type, which need not have data.
    """
    import verifiers.v1 as vf

    for kind, base, meaning in (
        ("environment", vf.Env, "several agents, or a user that is simulated"),
        ("harness", vf.Harness, "a program that runs the policy"),
    ):
        if (own := _own(taskset, identifier, base)) is not None:
            yield f"it has an {kind} of its own, {own} ({meaning})".replace("an harness", "a harness")
    if task.NEEDS_CONTAINER:
        yield "its tasks need a container"
    for name in ("setup", "finalize", "stage_verifier"):
        if getattr(type(task), name) is not getattr(vf.Task, name) and needs_runtime(getattr(task, name)):
            yield f"its {name}() needs a runtime"
    if type(task).runtime_env is not vf.Task.runtime_env:
        yield "its runtime_env() is for a process that there is not"
    for attribute, does in (("intercept", "rewrites messages"), ("stop", "ends conversations")):
        for hook in _decorated(task, attribute):
            yield f"its {hook}() {does} in a harness"
    for judge in task.config.judges:
        yield f"its judge {judge.id!r} asks another model (morl-judge does)"


def of_data(data: Any) -> str | None:
    """What a single task cannot do without; None where it can be asked."""
    if data.prompt is None:
        return "has no prompt: a user that is simulated would begin the conversation"
    for name in ("image", "workdir", "skills", "artifacts"):
        if getattr(data, name):
            return f"has {name}={getattr(data, name)!r}: it needs a runtime"
    return None


def of_toolset(toolset: Any) -> Iterator[str]:
    """What its tools cannot do without."""
    from verifiers.v1 import SubprocessConfig
    from verifiers.v1.state import State, state_cls

    name = type(toolset).__name__
    if (state := state_cls(type(toolset))) is not State:
        yield f"the tools of {name} share the state {state.__name__} with the task"
    if getattr(toolset.config, "url", None):
        yield f"the tools of {name} are on a server, {toolset.config.url}"
    runtime = getattr(toolset.config, "runtime", None)
    if runtime is not None and not isinstance(runtime, SubprocessConfig):
        yield f"the tools of {name} need the runtime {runtime.type!r}"


def _own(taskset: Any, identifier: str | None, base: type) -> str | None:
    """The class of this kind that the taskset's module brings along."""
    import verifiers.v1 as vf
    from verifiers.v1.utils import loaders

    if identifier is not None:
        module = loaders.import_taskset(identifier)
        found = [getattr(module, name, None) for name in getattr(module, "__all__", ())]
    else:
        found = list(vars(sys.modules[type(taskset).__module__]).values())
    for each in found:
        if isinstance(each, type) and issubclass(each, base) and each not in (base, vf.SingleAgentEnv):
            return each.__name__
    return None


def _decorated(task: Any, attribute: str) -> list[str]:
    from verifiers.v1.utils.decorators import discover_decorated

    plugged = task.config.stops if attribute == "stop" else ()
    return [*(function.__name__ for function in discover_decorated(task, attribute)), *plugged]
