"""The environment of the task `shop`: its tools, and whether the total is right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attrs import define, frozen

from morl.types import CompletionStatus, EnvironmentAnswer, Message, Prompt
from morl_playground.shop import TOOLS, answered

_TOTAL = re.compile(r"total (\d+)")


@frozen
class ShopEnvironment:
    """Answers calls of `price` and `add`; the first reply without a call ends the episode.

    Its reward is `right`: 1 for the total of the two prices, else 0, also where a limit ended the conversation.
    """

    reward_names: ClassVar[tuple[str, ...]] = ("right",)
    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    required_columns: ClassVar[tuple[str, ...]] = ("prices", "total")
    tools: ClassVar[Sequence[Mapping[str, Any]]] = TOOLS

    def open(self, prompt: Prompt, seed: int) -> ShopEpisode:
        """The prices are the prompt's, so nothing is left to chance."""
        return ShopEpisode(prompt.columns["prices"], prompt.columns["total"])


@define(eq=False)
class ShopEpisode:
    """One customer; see `morl.hookspecs.Episode`."""

    prices: Mapping[str, int]
    total: int
    tools: ClassVar[Sequence[Mapping[str, Any]]] = TOOLS
    _failed: int = 0
    _done: bool = False

    def step(self, reply: Message) -> EnvironmentAnswer:
        calls = [call["function"] for call in reply.get("tool_calls") or ()]
        if not calls:
            self._done = True
            found = _TOTAL.fullmatch(reply["content"].strip())
            right = found is not None and int(found[1]) == self.total
            return EnvironmentAnswer(done=True, rewards={"right": float(right)})
        said = [answered(call["name"], call["arguments"], self.prices) for call in calls]
        self._failed += sum(text.startswith("Error") for text in said)
        return EnvironmentAnswer(
            [{"role": "tool", "content": text} for text in said], info={"failed_calls": self._failed}
        )

    def finish(self, status: CompletionStatus) -> Mapping[str, float]:
        """A conversation without a total earns nothing."""
        return {} if self._done else {"right": 0.0}

    def close(self) -> None:
        """Holds nothing."""
