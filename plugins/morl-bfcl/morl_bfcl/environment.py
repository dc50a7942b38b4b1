"""The multi-turn tasks as an environment: a user who asks turn by turn, and tools whose state the calls change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attrs import define, field, frozen, validators

from morl.errors import DataError
from morl.types import CompletionStatus, EnvironmentAnswer, Message, Prompt
from morl_bfcl.calls import Call, positional, read_reply, written
from morl_bfcl.categories import MULTI_TURN
from morl_bfcl.entries import Entry, find
from morl_bfcl.package import check_installed
from morl_bfcl.prompts import CONVERSATION
from morl_bfcl.schemas import tool_schema
from morl_bfcl.tally import Tally
from morl_bfcl.wording import more_functions
from morl_bfcl.world import Result, World


@frozen
class BFCLEnvironment:
    """The multi-turn tasks of BFCL, on its own tool worlds.

    A reply with calls gets their results; one without ends the turn, and the user goes on.  After each turn the calls
    of the reference answer are carried out in worlds of their own, and compared.

    Rewards, as they stand at the end of an episode; one that is cut short keeps what it has:
        solved: 1 if BFCL's checker passes the episode, else 0: state and response match in every turn that needs calls.
        state: share of the turns that need calls after which the worlds are as they should be, and a call was made.
        response: share of them by whose end all results of the reference calls have been seen, and a call was made.
        quiet: share of the turns in which nothing can be done yet without a call; missing where there is no such turn.
        failed: share of the calls that failed: lower is better, so give it a negative weight.

    Args:
        max_steps: replies with calls in one turn; one more ends the episode.  BFCL's limit is 20.

    Raises:
        PluginError: the package `bfcl-eval` is not installed, or in another version.
    """

    reward_names: ClassVar[tuple[str, ...]] = ("solved", "state", "response", "quiet", "failed")
    reward_bounds: ClassVar[dict[str, tuple[float, float]]] = dict.fromkeys(reward_names, (0.0, 1.0))
    required_columns: ClassVar[tuple[str, ...]] = ("id", CONVERSATION)

    max_steps: int = field(default=20, validator=validators.ge(1))

    def __attrs_post_init__(self) -> None:
        check_installed()

    def open(self, prompt: Prompt, seed: int) -> BFCLEpisode:
        """Begins the task; nothing in it is random.

        Raises:
            DataError: a prompt of another source.
        """
        try:
            entry = find(prompt.columns["id"])
        except KeyError:
            entry = None
        if entry is None or entry.category not in MULTI_TURN:
            raise DataError(f"BFCL has no multi-turn task {prompt.columns['id']!r}; use the prompt source bfcl")
        in_text = prompt.columns[CONVERSATION]["calls_in"] == "system"
        return BFCLEpisode(entry, in_text, self.max_steps)


@define(eq=False)
class BFCLEpisode:
    """One task.

    Args:
        entry: the task.
        in_text: calls are read from the text of a reply, where it has no `tool_calls`.
        max_steps: as of the environment.
    """

    entry: Entry
    in_text: bool
    max_steps: int
    _world: World = field(init=False)
    _expected: World = field(init=False)
    _tally: Tally = field(init=False)
    _turn: int = field(default=0, init=False)
    _steps: int = field(default=0, init=False)
    _finished: bool = field(default=False, init=False)
    _results: list[str] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        assert self.entry.answer is not None
        self._world, self._expected = World.begin(self.entry), World.begin(self.entry)
        self._tally = Tally.of(self.entry.answer)

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Schemas for the chat template; none where the functions stand in the system message."""
        return [] if self.in_text else [tool_schema(doc) for doc in self.entry.functions]

    def step(self, reply: Message) -> EnvironmentAnswer:
        """Carries out the calls of a reply; without any, the turn is over."""
        calls = (read_reply(reply) if self.in_text or reply.get("tool_calls") else None) or ()
        if not calls:
            return self._next_turn()
        results = [self._carried_out(call) for call in calls]
        self._results += [result.text for result in results]
        self._tally.calls += len(results)
        self._tally.failures += sum(result.failed for result in results)
        self._steps += 1
        if self._steps > self.max_steps:
            return self._cut()
        return self._answer(_messages(reply, calls, results))

    def finish(self, _: CompletionStatus) -> dict[str, float | None]:
        """What no answer has given: that nothing is solved, of an episode in which no reply came here."""
        return self._tally.given(finished=self._finished)

    def close(self) -> None:
        """Nothing is held but memory."""

    def _carried_out(self, call: Call) -> Result:
        if call.nested:
            return Result(f"Error during execution: {call.name} has a call as an argument; call one by one", True)
        return self._world.call(call.name, call.arguments)

    def _cut(self) -> EnvironmentAnswer:
        """BFCL then compares the last turn, and no other; without a last turn, nothing is solved."""
        if self._is_last:
            self._compare()
        return self._answer([], done=True)

    @property
    def _is_last(self) -> bool:
        return self._turn == len(self.entry.turns) - 1

    def _next_turn(self) -> EnvironmentAnswer:
        self._compare()
        if self._is_last:
            return self._answer([], done=True)
        self._turn += 1
        self._steps = 0
        said = self.entry.turns[self._turn] or more_functions(self.entry.withheld[self._turn])
        return self._answer([dict(message) for message in said])

    def _compare(self) -> None:
        assert self.entry.answer is not None
        calls = [positional(text) for text in self.entry.answer[self._turn]]
        expected = [self._expected.call(name, named, values).text for name, values, named in calls]
        if not calls:
            self._tally.quiet += self._steps == 0
        elif self._steps:
            state, response = self._world.equals(self._expected), _contains(self._results, expected)
            self._tally.state += state
            self._tally.response += response
            self._tally.both += state and response

    def _answer(self, messages: Sequence[Message], done: bool = False) -> EnvironmentAnswer:
        self._finished = done and self._is_last
        return EnvironmentAnswer(
            messages, done, self._tally.given(self._finished), {"failed_calls": self._tally.failures}
        )


def _contains(seen: Sequence[str], expected: Sequence[str]) -> bool:
    """Whether every expected result is among those seen, as often as it is expected; their order does not matter."""
    left = list(seen)
    for text in expected:
        if text not in left:
            return False
        left.remove(text)
    return True


def _messages(reply: Message, calls: Sequence[Call], results: Sequence[Result]) -> list[Message]:
    """A `tool` message for each parsed call; for calls that were read in the text, one of the user, as BFCL's."""
    if not reply.get("tool_calls"):
        shown = [
            {"role": "tool", "name": written(call), "content": result.text}
            for call, result in zip(calls, results, strict=True)
        ]
        return [{"role": "user", "content": repr(shown)}]
    found: list[Message] = []
    for call, result in zip(reply["tool_calls"], results, strict=True):
        own: Mapping[str, Any] = {"tool_call_id": call["id"]} if "id" in call else {}
        found.append({"role": "tool", "name": call["function"]["name"], **own, "content": result.text})
    return found
