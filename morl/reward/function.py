"""Python functions as rewards, in the shapes that users already have: TRL's and verl's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from attrs import field, frozen

from morl.copies import copied
from morl.errors import ConfigError, RewardError, suggest
from morl.isolation.importing import import_function
from morl.reward.arguments import trl_arguments, verl_arguments
from morl.reward.isolated import Isolate, Runner
from morl.types import Completion

Style: TypeAlias = Literal["auto", "trl", "verl"]

_TRL = ("prompts", "completions", "completion_ids")
_TRL_TRAINER = ("trainer_state", "log_extra", "log_metric", "environments")
"""What TRL's trainer passes besides, and morl has no counterpart of."""
_VERL = ("data_source", "solution_str", "ground_truth", "extra_info")


@frozen(eq=False)
class FunctionReward:
    """A Python function, unchanged, as a reward.

    Two styles are known, told apart by the names of the parameters:

    - `trl`: `f(prompts, completions, completion_ids, **columns) -> list[float | None]`, called once with all
      completions.  Every column is a list.  Completions of chat prompts are `[{"role": "assistant", "content": text}]`,
      in conversations all messages after the prompt, calls of tools and their results included; those of text prompts
      are strings.
    - `verl`: `f(data_source, solution_str, ground_truth, extra_info) -> float | dict`, called once per completion, so
      that an exception, or a call past the time limit, fails that completion only.  The ground truth is the row's
      `ground_truth`, or `reward_model["ground_truth"]` as in verl's data files.  Of a dict, `score` counts, or the keys
      in `reward_names`.

    Either may be `async`.  A function gets only what its signature accepts, and may change what it gets.

    Attributes:
        function: `package.module:function`, `path/to/file.py:function`, or, from Python, the function itself.
        style: which of the two; `auto` looks at the parameters.
        arguments: further keyword arguments for every call.
        reward_names: for a function of several rewards, their names; it returns a mapping from these.
        isolate: `thread` calls the function in this process; `process` in worker processes, which are ended at the time
            limit, and whose crash is a failure; `auto` takes processes where the function turns out to need the main
            thread, as one with `signal.alarm` does.
        memory_limit: MiB of data that a worker process may hold; null sets no limit.
        batched: whether a TRL function is called once with all completions; false calls it with lists of one, so that
            each completion has the time limit for itself, and a late or failed answer costs no other its score.
        concurrency: calls for single completions at a time; null takes 1, 64 of an `async` function, and with
            `isolate: process` one for each CPU, 4 at most.

    Raises:
        ConfigError: the function cannot be imported, has neither style's parameters, or does not take an argument.

    >>> from morl.types import Completion, Prompt
    >>> def brief(completions, **columns):
    ...     return [1.0 if len(text) < 5 else 0.0 for text in completions]
    >>> reward = FunctionReward(brief)
    >>> reward.score([Completion(Prompt("2+2?"), text, ()) for text in ("4", "It is four.")])
    [1.0, 0.0]
    """

    function: str | Callable[..., Any]
    style: Style = "auto"
    arguments: Mapping[str, Any] = field(factory=dict, repr=False)  # may hold secrets
    reward_names: Sequence[str] | None = None
    isolate: Isolate = "auto"
    memory_limit: int | None = 4096
    batched: bool = True
    concurrency: int | None = None
    required_columns: tuple[str, ...] = field(init=False)
    _parameters: Mapping[str, inspect.Parameter] = field(init=False, repr=False)
    _style: Literal["trl", "verl"] = field(init=False, repr=False)
    _runner: Runner = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        call = import_function(self.function) if isinstance(self.function, str) else self.function
        if not callable(call) or inspect.isclass(call):
            raise ConfigError(f"a reward function is expected; got {call!r}")
        try:
            parameters = inspect.signature(call).parameters
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the parameters of {self._label} cannot be read: {error}") from error
        object.__setattr__(self, "_parameters", parameters)
        object.__setattr__(self, "_style", self._detect())
        for name in self.arguments:
            if not self._accepts(name):
                raise ConfigError(
                    f"{self._label} has no parameter {name!r}{suggest(name, parameters)};"
                    f" its parameters: {', '.join(parameters)}"
                )
        object.__setattr__(self, "required_columns", self._required())
        if self.concurrency is not None and not self.per_completion:
            raise ConfigError(
                f"concurrency={self.concurrency} has no effect: {self._label} is called once per step; batched: false"
                " calls it for each completion"
            )
        if not self.batched and self._style == "verl":
            raise ConfigError(f"batched=false has no effect: {self._label} has verl's form, called for each completion")
        runner = Runner(call, self.function, self._label, self.isolate, self.memory_limit, self.concurrency)
        object.__setattr__(self, "_runner", runner)

    @property
    def per_completion(self) -> bool:
        """Whether morl calls `score` with one completion at a time."""
        return self._style == "verl" or not self.batched

    @property
    def calls_at_a_time(self) -> int:
        """How many of these calls may run side by side."""
        return self._runner.calls_at_a_time

    def close(self) -> None:
        """Ends the worker processes."""
        self._runner.close()

    def score(self, completions: Sequence[Completion]) -> Any:
        """The function's scores, or an awaitable of them."""
        if self._style == "trl":
            return self._runner(self._chosen(trl_arguments(completions)))
        scores = [self._score_one(completion) for completion in completions]
        if any(inspect.isawaitable(score) for score in scores):
            return self._gather(scores)
        return self._collect(scores)

    @property
    def _label(self) -> str:
        name = getattr(self.function, "__qualname__", None) or repr(self.function)
        return f"the function {name if callable(self.function) else self.function}"

    def _accepts(self, name: str) -> bool:
        kinds = [parameter.kind for parameter in self._parameters.values()]
        return name in self._parameters or inspect.Parameter.VAR_KEYWORD in kinds

    def _detect(self) -> Literal["trl", "verl"]:
        """The style that was asked for, or the one that the parameters speak for."""
        if self.style not in get_args(Style):
            raise ConfigError(
                f"unknown style {self.style!r}{suggest(str(self.style), get_args(Style))};"
                f" choose from {', '.join(get_args(Style))}"
            )
        for parameter in self._parameters.values():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and parameter.default is inspect.Parameter.empty:
                raise ConfigError(f"{self._label} takes {parameter.name!r} by position only; morl passes keywords")
        if self.style != "auto":
            return self.style
        found = [
            style for style, sign in (("trl", "completions"), ("verl", "solution_str")) if sign in self._parameters
        ]
        if found == ["trl"]:
            return "trl"
        if found == ["verl"]:
            return "verl"
        if "environments" in self._parameters:
            raise ConfigError(
                f"{self._label} reads the environments of TRL's trainer, which morl does not have"
                f"{_instead('environments')}"
            )
        raise ConfigError(
            f"the parameters of {self._label}, ({', '.join(self._parameters)}), fit"
            f" {'both styles' if found else 'neither style'}: trl has `prompts, completions, **columns`, verl has"
            f" `{', '.join(_VERL)}`; set `style`, or rename the parameters"
        )

    def _required(self) -> tuple[str, ...]:
        """Columns without which the function cannot be called."""
        variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        needed = [
            name
            for name, parameter in self._parameters.items()
            if parameter.default is inspect.Parameter.empty
            and parameter.kind not in variadic
            and name not in self.arguments
        ]
        if self._style == "verl":
            for name in needed:
                if name not in _VERL:
                    raise ConfigError(
                        f"{self._label} needs {name!r}, which a verl reward is not given"
                        f" ({', '.join(_VERL)}); give it a default or set it in `arguments`"
                    )
            return ("data_source",) if "data_source" in needed else ()
        for name in needed:
            if name in _TRL_TRAINER:
                raise ConfigError(
                    f"{self._label} needs {name!r} of TRL's trainer, which morl does not have{_instead(name)}"
                )
        return tuple(name for name in needed if name not in _TRL)

    def _chosen(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What the signature takes of these, and the configured arguments, which win."""
        return {name: value for name, value in arguments.items() if self._accepts(name)} | copied(dict(self.arguments))

    def _score_one(self, completion: Completion) -> Any:
        arguments = self._chosen(verl_arguments(completion))
        try:
            return self._runner(arguments)
        except Exception as error:  # noqa: BLE001 - whatever it raises is the failure of this completion
            return error

    async def _gather(self, scores: Sequence[Any]) -> Any:
        async def settled(score: Any) -> Any:
            return await score if inspect.isawaitable(score) else score

        return self._collect(await asyncio.gather(*map(settled, scores), return_exceptions=True))

    def _collect(self, scores: Sequence[Any]) -> Any:
        """One list of scores, or one per reward name."""
        if self.reward_names is None:
            return [self._pick(score, "score") if isinstance(score, Mapping) else score for score in scores]
        return {
            name: [score if isinstance(score, BaseException) else self._pick(score, name) for score in scores]
            for name in self.reward_names
        }

    def _pick(self, score: Any, key: str) -> Any:
        if not isinstance(score, Mapping):
            raise RewardError(
                f"{self._label} must return a dict with the keys {', '.join(self.reward_names or ())}; got {score!r}"
            )
        if key not in score:
            raise RewardError(
                f"{self._label} returned a dict without {key!r}{suggest(key, map(str, score))};"
                f" its keys: {', '.join(map(str, score))}"
            )
        return score[key]


def _instead(name: str) -> str:
    """What does what an argument of TRL's trainer is for."""
    if name != "environments":
        return ""
    return (
        "; give the class a method `get_reward` that returns what the function reads of an instance (a number, or a"
        " mapping of named rewards), and leave the function out"
    )
