"""A Python class as an environment, in the form that TRL's users have."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from morl.environments.calling import check_left
from morl.environments.instances import CLOSING, Instance
from morl.environments.results import check_limit, error_text, result_text, text_blocks, warn_once
from morl.environments.schemas import tool_schema
from morl.errors import ConfigError, PluginError, suggest, told
from morl.isolation.importing import import_function
from morl.types import CompletionStatus, EnvironmentAnswer, Message, Prompt

_OWN = ("reset", "get_reward", "close")
"""Methods that are no tools."""


@frozen(eq=False)
class PythonEnvironment:
    """A class of the user's as the environment, unchanged, in the form that TRL has for `environment_factory`.

    - Its public methods are the tools, each argument with a type and a description in the docstring (Google style).
    - `reset(**row)` begins an episode; it is given the prompt's columns and its messages as `prompt`, or, where it has
      no `**row`, those of them that it names.  Text that it returns is put at the end of the last message of the user.
    - `get_reward()`, where there is one, is asked at the end of every conversation, however it ended.  It returns a
      number, or a mapping by name; None where a reward does not apply.
    - `close()`, where there is one, is called at the end of the run.

    All may be `async`.  What is not is called in a thread, always the same of an instance, which may hold a connection
    of sqlite3 or a browser.  An instance has one episode at a time, and is reset for the next; one that failed is not
    used again.  A reply without a call ends the conversation.

    Attributes:
        factory: `package.module:Class`, `path/to/file.py:Class`, or, from Python, the class or a function without
            arguments that makes an instance.
        reward_names: what `get_reward` returns a mapping of; null where it returns a number, a reward called as the
            class.
        max_result: characters of a result that the policy reads; what is cut off is marked.  null cuts nothing.

    Raises:
        ConfigError: a class that cannot be imported or made without arguments, or has no `reset`; a method that cannot
            be described; a `reset` or `get_reward` that cannot be called as above; names for rewards that it does not
            give; a `max_result` that leaves nothing.
    """

    factory: str | Callable[[], Any]
    reward_names: Sequence[str] | None = None
    max_result: int | None = 4000
    tools: tuple[Mapping[str, Any], ...] = field(init=False)
    required_columns: tuple[str, ...] = field(init=False)
    _named: frozenset[str] | None = field(init=False, repr=False)
    _make: Callable[[], Any] = field(init=False, repr=False)
    _single: str | None = field(init=False, repr=False, default=None)
    _idle: list[Instance] = field(init=False, repr=False, factory=list)
    _leaving: list[threading.Thread] = field(init=False, repr=False, factory=list)
    """Close instances that could not be reset."""
    _lock: threading.Lock = field(init=False, repr=False, factory=threading.Lock)
    failures: set[tuple[str, type]] = field(init=False, repr=False, factory=set)
    """Of its tools, by kind, which have been warned of."""

    def __attrs_post_init__(self) -> None:
        check_limit(self.max_result)
        make = import_function(self.factory) if isinstance(self.factory, str) else self.factory
        if not callable(make):
            raise ConfigError(f"factory must be a class, or a function that makes an instance; got {make!r}")
        object.__setattr__(self, "_make", make)
        if not inspect.isclass(make):  # only an instance tells what it can do
            self._idle.append(_made(make))
        kind = make if inspect.isclass(make) else type(self._idle[0].value)
        if not callable(getattr(kind, "reset", None)):
            near = suggest("reset", [name for name in dir(kind) if not name.startswith("_")])
            raise ConfigError(f"{kind.__name__} is no environment: it has no method `reset`{near}")
        if make is kind:
            _check_needs_nothing(make)
        required, named = _row_of(kind)
        object.__setattr__(self, "required_columns", required)
        object.__setattr__(self, "_named", named)
        object.__setattr__(self, "tools", tuple(tool_schema(method) for method in tools_of(kind).values()))
        if callable(getattr(kind, "get_reward", None)):
            _check_asks_nothing(kind)
            if self.reward_names is None:
                object.__setattr__(self, "_single", kind.__name__)
                object.__setattr__(self, "reward_names", (kind.__name__,))
            elif not self.reward_names:
                raise ConfigError(
                    f"reward_names=[] leaves {kind.__name__}.get_reward() without a reward; name those that it returns"
                    " a mapping of, or leave reward_names out where it returns a number"
                )
        elif not self.reward_names:
            object.__setattr__(self, "reward_names", ())
        else:
            raise ConfigError(
                f"reward_names={[*self.reward_names]} has no effect: {kind.__name__} has no method `get_reward`"
            )

    async def open(self, prompt: Prompt, seed: int) -> PythonEpisode:
        """See `morl.hookspecs.Environment`."""
        with self._lock:
            instance = self._idle.pop() if self._idle else None
        if instance is None:
            instance = await Instance.made(self._make)
        messages = [dict(message) for message in prompt.messages]
        row = {**prompt.columns, "prompt": messages}
        if self._named is not None:
            row = {name: value for name, value in row.items() if name in self._named}
        try:
            said = await instance.call(instance.value.reset, **row)
            if (blocks := text_blocks(said)) is not None:
                said = "".join(blocks)
            if said is not None and not isinstance(said, str):
                raise TypeError(f"reset() must return text, or None; got {type(said).__name__}")
        except BaseException:  # one that takes too long is cancelled
            with self._lock:
                self._leaving[:] = [thread for thread in self._leaving if thread.is_alive()] + [instance.leave()]
            raise
        return PythonEpisode(self, instance, with_text(prompt.messages, said) if said else None, self.tools)

    def close(self) -> None:
        """Closes the instances.

        Raises:
            RuntimeError: what the first raised that failed to close.
        """
        with self._lock:
            instances, self._idle[:] = [*self._idle], []
            leaving, self._leaving[:] = [*self._leaving], []
        errors: list[Exception] = []
        for instance in instances:
            try:
                instance.close_now()
            except Exception as error:  # noqa: BLE001 - the others are to be closed all the same
                errors.append(error if isinstance(error, RuntimeError) else RuntimeError(told(error)))
        for thread in leaving:
            thread.join(CLOSING)
        if errors:
            raise errors[0]

    def give_back(self, instance: Instance) -> None:
        """An instance that can be reset."""
        with self._lock:
            self._idle.append(instance)

    def named(self, reward: Any) -> Mapping[str, Any]:
        """What `get_reward` returned, by name."""
        assert self.reward_names is not None
        if self._single is None:
            if isinstance(reward, Mapping) or reward is None:
                return dict.fromkeys(self.reward_names) | dict(reward or {})
            raise PluginError(
                f"get_reward() must return a mapping of {', '.join(self.reward_names)}, as reward_names says; got"
                f" {reward!r:.80}"
            )
        if isinstance(reward, Mapping):
            raise PluginError(
                f"get_reward() returned a mapping with the keys {', '.join(map(repr, reward))}; say"
                f" environment.reward_names: [{', '.join(map(str, reward))}]"
            )
        return {self._single: reward}


@define(eq=False)
class PythonEpisode:
    """One conversation with an instance."""

    owner: PythonEnvironment
    _held: Instance
    prompt: Sequence[Message] | None
    tools: tuple[Mapping[str, Any], ...]
    _failed_calls: int = field(init=False, default=0)
    _sound: bool = field(init=False, default=True)
    _closed: bool = field(init=False, default=False)

    @property
    def instance(self) -> Any:
        """The user's object."""
        return self._held.value

    async def step(self, reply: Message) -> EnvironmentAnswer:
        """See `morl.hookspecs.Episode`.

        Raises:
            RolloutError: too many calls go on after their time limit.
        """
        check_left()
        self._sound = False  # until it has answered
        calls = reply.get("tool_calls") or ()
        messages = [await self._answer(call) for call in calls]
        self._sound = True
        return EnvironmentAnswer(messages, done=not calls, info={"failed_calls": self._failed_calls})

    async def finish(self, status: CompletionStatus) -> Mapping[str, float | None]:
        """See `morl.hookspecs.Episode`."""
        get_reward = getattr(self.instance, "get_reward", None)
        if get_reward is None:
            return {}
        self._sound = False
        reward = await self._held.call(get_reward)
        self._sound = True
        return self.owner.named(reward)

    def close(self) -> Awaitable[None] | None:
        """Gives the instance back; one that failed is closed."""
        if self._closed:
            return None
        self._closed = True
        if self._sound:
            self.owner.give_back(self._held)
            return None
        return self._held.close()

    async def _answer(self, call: Mapping[str, Any]) -> Message:
        name, limit = call["function"]["name"], self.owner.max_result
        try:
            method = getattr(self.instance, name)
            content = result_text(await self._held.call(method, **call["function"]["arguments"]), limit)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises, the policy is told
            self._failed_calls += 1
            warn_once(self.owner.failures, name, error)
            content = error_text(error, limit)
        return {"role": "tool", "tool_call_id": call["id"], "name": name, "content": content}


def _check_needs_nothing(make: Callable[[], Any]) -> None:
    """Refuses a class or function that cannot be called without arguments."""
    try:
        inspect.signature(make).bind()
    except ValueError:  # it has no signature that can be read
        return
    except TypeError as error:
        name = getattr(make, "__name__", make)
        raise ConfigError(f"factory is called without arguments, and {name} refuses that: {error}") from error


def _row_of(kind: type) -> tuple[tuple[str, ...], frozenset[str] | None]:
    """Columns that `reset` cannot do without, and those that it takes; None where it takes all.

    Raises:
        ConfigError: an argument that cannot be given by name.
    """
    try:
        parameters = [*inspect.signature(kind.reset).parameters.values()]  # type: ignore[attr-defined]
    except ValueError:  # it has no signature that can be read
        return (), None
    if not isinstance(inspect.getattr_static(kind, "reset"), staticmethod | classmethod):
        parameters = parameters[1:]  # self
    alone = next((each for each in parameters if each.kind is each.POSITIONAL_ONLY), None)
    if alone is not None:
        raise ConfigError(
            f"{kind.__name__}.reset is given the columns of a row by name, and its argument {alone.name!r} cannot be;"
            " leave out the /"
        )
    plain = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    required = tuple(each.name for each in plain if each.default is each.empty and each.name != "prompt")
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters)
    return required, None if takes_all else frozenset(each.name for each in plain)


def _check_asks_nothing(kind: type) -> None:
    """Refuses a `get_reward` that cannot be called without arguments."""
    method = inspect.getattr_static(kind, "get_reward")
    given = () if isinstance(method, staticmethod | classmethod) else (None,)  # self
    try:
        inspect.signature(kind.get_reward).bind(*given)  # type: ignore[attr-defined]
    except ValueError:  # it has no signature that can be read
        return
    except TypeError as error:
        raise ConfigError(
            f"{kind.__name__}.get_reward is called without arguments, and refuses that: {error}; keep what it needs in"
            " the instance"
        ) from error


def _made(make: Callable[[], Any]) -> Instance:
    """An instance of a function's.

    Raises:
        ConfigError: it needs arguments, or failed.
    """
    _check_needs_nothing(make)
    try:
        return Instance.made_now(make)
    except Exception as error:
        raise ConfigError(f"factory failed to make an instance: {type(error).__name__}: {error}") from error


def tools_of(kind: type) -> dict[str, Callable[..., Any]]:
    """The public methods of a class, by name."""
    methods = inspect.getmembers(kind, inspect.isfunction)
    return {name: method for name, method in methods if not name.startswith("_") and name not in _OWN}


def with_text(messages: Sequence[Message], text: str) -> tuple[Message, ...]:
    """The messages with a text at the end of the last one of the user; as one of its own where there is none."""
    found = [place for place, message in enumerate(messages) if message["role"] == "user"]
    if not found:
        return (*messages, {"role": "user", "content": text})
    changed = [dict(message) for message in messages]
    changed[found[-1]]["content"] = f"{changed[found[-1]]['content']}{text}"
    return tuple(changed)
