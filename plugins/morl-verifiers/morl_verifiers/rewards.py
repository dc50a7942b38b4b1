"""The rewards: each reward function of a taskset as a reward of its own."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from attrs import field, frozen

from morl.errors import ConfigError, suggest
from morl.types import Completion, CompletionStatus
from morl_verifiers.loading import COLUMN, Loaded, Setting, load
from morl_verifiers.messages import nodes
from morl_verifiers.obstacles import needs_runtime

_log = logging.getLogger(__name__)

Score: TypeAlias = float | Exception | None

_STOPPED = {
    CompletionStatus.TURN_LIMIT: "max_turns",
    CompletionStatus.TOKEN_LIMIT: "max_total_tokens",
    CompletionStatus.CONTEXT_FULL: "max_total_tokens",
    CompletionStatus.TRUNCATED: "max_output_tokens",
}
"""What verifiers calls the end of a conversation that a limit has cut; `Trace.is_truncated` reads it."""


@frozen(eq=False)
class VerifiersRewards:
    """The functions that a taskset marks with `@vf.reward`, each a reward.

    They see the conversation as the trace of one agent.  None is missing, and one that raises fails alone.  The task's
    metrics are computed first, as in verifiers, for rewards may read them.  Weights are those of the config: where the
    taskset has others than 1, they are logged.

    Args:
        taskset: as of the prompts.
        config: fields of its config.
        score_names: for a function that returns several scores, their names.
        leave_out: functions that are not asked.

    Raises:
        ConfigError: a taskset that is not there, needs verifiers' own processes or has no rewards; a reward that needs
            a runtime and is not left out; a name that is no reward's, or two rewards of one name.
    """

    taskset: str
    config: Mapping[str, Setting] = field(factory=dict)
    score_names: Mapping[str, Sequence[str]] = field(factory=dict)
    leave_out: Sequence[str] = ()
    reward_names: tuple[str, ...] = field(init=False, default=())
    _loaded: Loaded = field(init=False, repr=False)

    required_columns: ClassVar[tuple[str, ...]] = (COLUMN,)
    per_completion: ClassVar[bool] = True
    calls_at_a_time: ClassVar[int] = 32

    @_loaded.default
    def _load(self) -> Loaded:
        return load(self.taskset, self.config)

    def __attrs_post_init__(self) -> None:
        functions = {function.__name__: function for function in self._loaded.without_data().hooks("reward")}
        for option, names in (("score_names", self.score_names), ("leave_out", self.leave_out)):
            for name in names:
                if name not in functions:
                    known = ", ".join(functions) or "none"
                    raise ConfigError(f"{option}: unknown reward {name!r}{suggest(name, functions)}; rewards: {known}")
        kept = {name: function for name, function in functions.items() if name not in self.leave_out}
        if not kept:
            raise ConfigError(f"the taskset {self.taskset} has no reward functions that are asked")
        needy = [name for name, function in kept.items() if needs_runtime(function)]
        if needy:
            raise ConfigError(f"rewards that need a runtime: {', '.join(needy)}; `leave_out` them, or another taskset")
        names = [each for name in kept for each in self.score_names.get(name, (name,))]
        if len(set(names)) < len(names):
            raise ConfigError(f"score_names: two rewards have one name in {', '.join(names)}")
        weights = {name: weight for name, function in kept.items() if (weight := _weight(function)) != 1.0}
        if weights:
            _log.warning("the taskset %s weighs its rewards, which is the config's to do: %s", self.taskset, weights)
        object.__setattr__(self, "reward_names", tuple(names))

    async def score(self, completions: Sequence[Completion]) -> Mapping[str, list[Score]]:
        """One score of each reward, or why there is none, per completion."""
        rows = await asyncio.gather(*(self._row(completion) for completion in completions))
        return {name: [row[name] for row in rows] for name in self.reward_names}

    async def _row(self, completion: Completion) -> dict[str, Score]:
        task = self._loaded.task(completion.prompt.columns[COLUMN])
        available = {"task": task.data, "trace": _trace(task, completion)}
        for hook in (task.setup, task.finalize):
            if not needs_runtime(hook):  # those of verifiers itself do, and do nothing
                await _asked(hook, available)
        await self._measure(task, available)
        row: dict[str, Score] = {}
        for function in task.hooks("reward"):
            if function.__name__ not in self.leave_out:
                row.update(await self._scores(function, available))
        return row

    async def _measure(self, task: Any, available: Mapping[str, Any]) -> None:
        for metric in task.hooks("metric"):
            if needs_runtime(metric):
                continue
            try:
                result = await _asked(metric, available)
                values = result if isinstance(result, Mapping) else {metric.__name__: result}
                for name, value in values.items():
                    available["trace"].record_metric(name, value)
            except Exception as error:  # noqa: BLE001 - foreign code; without it rewards may still be had
                _log.debug("metric %s: %s: %s", metric.__name__, type(error).__name__, error)

    async def _scores(self, function: Callable[..., Any], available: Mapping[str, Any]) -> dict[str, Score]:
        """What one function says, under each of its names."""
        name = function.__name__
        names = tuple(self.score_names.get(name, (name,)))
        try:
            result = await _asked(function, available)
        except Exception as error:  # noqa: BLE001 - foreign code; what it raised is the failure of this reward
            return dict.fromkeys(names, error)
        if name in self.score_names and result is not None:
            if not isinstance(result, Mapping) or not set(result) <= set(names):
                wrong = TypeError(f"{name} must return scores of {', '.join(names)}; got {result!r}")
                return dict.fromkeys(names, wrong)
            return {each: result.get(each) for each in names}
        if isinstance(result, Mapping):
            return {name: TypeError(f"{name} returns several scores, name them in `score_names`: {', '.join(result)}")}
        return dict.fromkeys(names, result)


async def _asked(function: Callable[..., Any], available: Mapping[str, Any]) -> Any:
    from verifiers.v1.utils.decorators import invoke

    result = invoke(function, dict(available))
    return await result if inspect.isawaitable(result) else result


def _trace(task: Any, completion: Completion) -> Any:
    import verifiers.v1 as vf
    from verifiers.v1.state import state_cls

    messages = completion.messages
    given = len(completion.prompt.messages)
    sampled = [number >= given and message["role"] == "assistant" for number, message in enumerate(messages)]
    return vf.Trace(
        task=vf.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
        nodes=nodes(messages, sampled),
        state=state_cls(type(task))(),
        is_completed=True,
        ok=True,
        stop_condition=_STOPPED.get(completion.status, "agent_completed"),
    )


def _weight(function: Callable[..., Any]) -> float:
    return float(getattr(function, "_vf_weight", 1.0))
