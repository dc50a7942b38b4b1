"""Python functions as tools, which the policy calls until it answers without a call."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from morl.environments.calling import called, check_left
from morl.environments.results import check_limit, error_text, result_text, warn_once
from morl.environments.schemas import tool_schema
from morl.errors import ConfigError
from morl.isolation.importing import import_function
from morl.types import EnvironmentAnswer, Message, Prompt


@frozen(eq=False)
class Tools:
    """Functions that the policy may call; a reply without a call ends the conversation.

    The calls of a reply are made in their order, one after the other.  The policy reads what a function returns: text
    as it is, anything else as JSON.  An exception, wrong arguments and a call past its time limit are told to it as an
    error, and counted.  What a function prints is not part of its result.

    Attributes:
        functions: each `package.module:function`, `path/to/file.py:function`, or, from Python, the function itself;
            `async` or not, every argument with a type and a description in the docstring (Google style).
        call_timeout: seconds that a call may take; null leaves it to the environment's `timeout`, which limits all
            calls of a reply together.
        max_result: characters of a result that the policy reads; what is cut off is marked.  null cuts nothing.

    Raises:
        ConfigError: a function that cannot be imported or described, or two of one name.
    """

    functions: Sequence[str | Callable[..., Any]]
    call_timeout: float | None = 20.0
    max_result: int | None = 4000
    tools: tuple[Mapping[str, Any], ...] = field(init=False)
    _by_name: Mapping[str, Callable[..., Any]] = field(init=False, repr=False)
    _failures: set[tuple[str, type]] = field(init=False, repr=False, factory=set)
    """Of the functions, by kind, which have been warned of."""

    def __attrs_post_init__(self) -> None:
        if isinstance(self.functions, str) or not self.functions:
            raise ConfigError(f"functions must be a list of functions, one at least; got {self.functions!r}")
        if self.call_timeout is not None and not self.call_timeout > 0:
            raise ConfigError(f"call_timeout must be positive seconds, or null for none; got {self.call_timeout}")
        check_limit(self.max_result)
        found = [import_function(each) if isinstance(each, str) else each for each in self.functions]
        for given, function in zip(self.functions, found, strict=True):
            if not callable(function):
                raise ConfigError(f"a tool must be a function; {given!r} is {type(function).__name__}")
        schemas = [tool_schema(function) for function in found]
        names = [str(schema["function"]["name"]) for schema in schemas]
        for name, count in Counter(names).items():
            if count > 1:
                raise ConfigError(
                    f"{count} tools are called {name!r}; the policy could not tell them apart: rename one"
                )
        object.__setattr__(self, "tools", tuple(schemas))
        object.__setattr__(self, "_by_name", dict(zip(names, found, strict=True)))

    def open(self, prompt: Prompt, seed: int) -> ToolsEpisode:
        """See `morl.hookspecs.Environment`."""
        return ToolsEpisode(self._by_name, self.tools, self.call_timeout, self.max_result, self._failures)


@define(eq=False)
class ToolsEpisode:
    """One conversation with the tools."""

    functions: Mapping[str, Callable[..., Any]]
    tools: tuple[Mapping[str, Any], ...]
    call_timeout: float | None
    max_result: int | None
    failures: set[tuple[str, type]]
    _failed: int = field(init=False, default=0)

    async def step(self, reply: Message) -> EnvironmentAnswer:
        """See `morl.hookspecs.Episode`.

        Raises:
            RolloutError: too many calls go on after their time limit.
        """
        check_left()
        calls = reply.get("tool_calls") or ()
        messages = [await self._answer(call) for call in calls]
        return EnvironmentAnswer(messages, done=not calls, info={"failed_calls": self._failed})

    def close(self) -> None:
        """Nothing is held."""

    async def _answer(self, call: Mapping[str, Any]) -> Message:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        try:
            content = result_text(await self._call(name, arguments), self.max_result)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises, the policy is told
            self._failed += 1
            warn_once(self.failures, name, error)
            content = error_text(error, self.max_result)
        return {"role": "tool", "tool_call_id": call["id"], "name": name, "content": content}

    async def _call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        function = self.functions[name]
        inspect.signature(function).bind(**arguments)  # its TypeError names the argument, and not the function
        try:
            async with asyncio.timeout(self.call_timeout) as limit:
                result = await called(function, **arguments)
        except TimeoutError:
            if limit.expired():
                raise self._late() from None
            raise
        until = limit.when()
        if until is not None and asyncio.get_running_loop().time() >= until:  # it took no notice of being cancelled
            raise self._late()
        return result

    def _late(self) -> TimeoutError:
        return TimeoutError(f"no answer within {self.call_timeout:g} s")
