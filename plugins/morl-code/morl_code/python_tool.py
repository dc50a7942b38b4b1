"""Python as a tool: an environment in which the policy runs code apart from the machine, and reads what it prints."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attrs import define, field, frozen

from morl.errors import ConfigError, RewardError
from morl.types import EnvironmentAnswer, Message, Prompt
from morl_code.sandbox import registry
from morl_code.sandbox.client import LocalSandbox
from morl_code.sandbox.limits import Limits
from morl_code.sandbox.probe import choose
from morl_code.sandbox.sessions import Sandboxes, Session

_log = logging.getLogger(__name__)

NAME = "python"
TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "Runs Python code and returns what it prints, and the value of an expression at its end. "
        "Variables stay from call to call. There are no files, no network and no packages but the standard library.",
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "The code to run."}},
            "required": ["code"],
        },
    },
}
_GRID = 2**40  # shares are multiples of 1 / this, of which differences and sums are exact


@frozen(eq=False)
class PythonSandbox:
    """The tool `python`: runs a text in the sandbox of `morl-code`, and answers with what it prints.

    Each episode has a process of its own, which starts with its first call, keeps variables between calls, and is
    stopped in between.  Code that raises is answered with its traceback.  Code that meets a limit ends the process: the
    answer says so, and the next call begins anew.  A reply without calls ends the episode.

    Reward `ran`: the share of the episode's calls that ran without an error; missing without calls.

    Args:
        seconds: that one call may compute, or wait without computing; waiting for a busy processor does not count.
        total_seconds: of all calls of an episode together; calls after that are not run, and answered so.
        memory: MiB that the process may use.
        output: bytes of a call's output that the policy reads; of more, the beginning and the end.
        isolation: what keeps the code from the machine: `auto` takes the best of `namespaces` and `landlock` that works
            here and refuses to run where none does; `bubblewrap` or `none`; see ISOLATION.md.

    Raises:
        ConfigError: a limit that is not positive, an isolation that this machine does not offer, or without sessions.
    """

    reward_names: ClassVar[tuple[str, ...]] = ("ran",)
    reward_bounds: ClassVar[dict[str, tuple[float, float]]] = {"ran": (0.0, 1.0)}
    tools: ClassVar[Sequence[Mapping[str, Any]]] = (TOOL,)

    seconds: float = 5.0
    total_seconds: float = 20.0
    memory: int = 1024
    output: int = 4000
    isolation: str = "auto"
    _sandboxes: Sandboxes = field(init=False, repr=False)

    @_sandboxes.default
    def _made(self) -> Sandboxes:
        for name in ("seconds", "total_seconds", "memory", "output"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be positive; got {getattr(self, name)}")
        if self.total_seconds < self.seconds:
            raise ConfigError(
                f"total_seconds must be at least seconds; got {self.total_seconds:g} and {self.seconds:g}"
            )
        level = choose(self.isolation)
        if level not in registry.OWN:
            raise ConfigError(
                f"the sandbox {level!r} runs programs, but has no sessions; python-sandbox needs one of"
                f" {', '.join(registry.OWN)}"
            )
        _log.log(logging.WARNING if level == "none" else logging.INFO, "the tool python runs at isolation %r", level)
        # One process may run all calls of an episode.
        cpu = math.ceil(self.total_seconds + self.seconds)
        limits = Limits(wall=self.seconds, cpu=cpu, total=self.total_seconds, memory=self.memory)
        return Sandboxes(lambda: LocalSandbox(level, limits))

    def open(self, prompt: Prompt, seed: int) -> PythonEpisode:
        """An episode; its process starts with its first call.

        Args:
            prompt: not looked at.
            seed: of Python's `random` in the process.
        """
        return PythonEpisode(self, Session(self._sandboxes, seed, self.output))

    def close(self) -> None:
        """Ends the sandboxes."""
        self._sandboxes.close()


@define(eq=False)
class PythonEpisode:
    """One conversation with a Python of its own."""

    environment: PythonSandbox
    _session: Session
    _used: float = field(default=0.0, init=False)
    _calls: int = field(default=0, init=False)
    _ran: int = field(default=0, init=False)
    _ended: int = field(default=0, init=False)
    _given: float = field(default=0.0, init=False)

    @property
    def tools(self) -> Sequence[Mapping[str, Any]]:
        return self.environment.tools

    def step(self, reply: Message) -> EnvironmentAnswer:
        """Runs the calls of a reply, in their order.

        Raises:
            RuntimeError: the sandbox itself failed.
        """
        calls = reply.get("tool_calls") or ()
        try:
            answers = [_answer(call, self._answered(call["function"])) for call in calls]
        except RewardError as error:  # whose class would say that the input is wrong
            raise RuntimeError(str(error)) from error
        info = {"failed_calls": self._calls - self._ran, "processes_ended": self._ended}
        return EnvironmentAnswer(answers, not calls, {"ran": self._gained()}, info)

    def close(self) -> None:
        """Ends the process, also while a call runs."""
        self._session.close()

    def _answered(self, function: Mapping[str, Any]) -> str:
        self._calls += 1
        if function["name"] != NAME:
            return f"[unknown tool {function['name']!r}; there is {NAME}]"
        arguments = function["arguments"]
        if not isinstance(arguments, Mapping) or set(arguments) != {"code"} or not isinstance(arguments["code"], str):
            return f"[{NAME} takes one argument, code, which is a text; got {arguments!r:.200}]"
        left = self.environment.total_seconds - self._used
        if left <= 0:
            return f"[not run: the {self.environment.total_seconds:g} s of all calls are used up]"
        result = self._session.call(arguments["code"], min(self.environment.seconds, left))
        self._used += result.seconds
        self._ran += result.done
        if result.ended is None:
            return result.output or "[no output]"
        self._ended += 1
        lines = [result.output] if result.output else []
        return "\n".join([*lines, f"[{result.ended}; the process is gone, and its variables with it]"])

    def _gained(self) -> float | None:
        """What the share of calls that ran has gained since the last answer."""
        if not self._calls:
            return None
        share = round(self._ran / self._calls * _GRID) / _GRID
        gained, self._given = share - self._given, share
        return gained


def _answer(call: Mapping[str, Any], text: str) -> Message:
    own = {"tool_call_id": call["id"]} if "id" in call else {}
    return {"role": "tool", "name": call["function"]["name"], **own, "content": text}
