"""One conversation on its way to a completion: its tokens, its turns, and what its environment said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

from morl.conversation.answers import FIGURES as FIGURES
from morl.conversation.calls import ToolCall
from morl.conversation.opening import Opening
from morl.hookspecs import Episode
from morl.types import CompletionStatus, EncodedPrompt, Message, Sampling, Turn

if TYPE_CHECKING:
    from morl.conversation.reply_format import ReplyFormat


class Stage(Enum):
    """Where a conversation is.

    Attributes:
        OPENING: its episode is being opened.
        OPENED: it waits for the other episodes of its prompt.
        READY: it can be sampled.
        SAMPLING: a stream of the rollout backend has its context.
        ASKING: the environment has been given the last reply.
        OVER: nothing more is sampled.
    """

    OPENING = auto()
    OPENED = auto()
    READY = auto()
    SAMPLING = auto()
    ASKING = auto()
    OVER = auto()


@frozen(eq=False)
class Drawn:
    """One completion, as the rollout backend sampled it.

    Attributes:
        ids: at least one token.
        logprobs: of each.
        text: decoded without special tokens.
        truncated: reached the limit of the call.
        version: of the weights.
    """

    ids: list[int]
    logprobs: list[float]
    text: str
    truncated: bool
    version: int


@frozen
class Limits:
    """What ends a conversation at the latest; None where there is no limit.

    Attributes:
        turns: replies of the policy.
        tool_calls: of all its replies together, those that could not be made included.
        tokens: after the prompt, those of the environment included.
        context: positions of the model, for the prompt and everything after it.
    """

    turns: int
    tool_calls: int | None = None
    tokens: int | None = None
    context: int | None = None


@define(eq=False)
class Talk:
    """One conversation.

    Attributes:
        prompt: as the policy reads it, with what the environment put after it.
        group: row of the prompt in the batch.
        member: number among the completions of the prompt.
        seed: of the prompt.
        sampling: how its turns are drawn; `max_tokens` is the longest turn.
        episode: once it is open.
        opening: what it says before the first turn.
        format: how replies are read and continued.
        status: how it ended.
        cut: the status that a limit of tokens gives it, where one ended its last turn.
        calls: of tools in the last reply.
        info: what the environment had to say.
        version: of the oldest weights that drew a turn.
        tool_calls, failed_calls: of tools in all replies; those that could not be made.
        seconds: in the environment.
    """

    prompt: EncodedPrompt
    group: int
    member: int
    seed: int
    sampling: Sampling
    stage: Stage = Stage.OPENING
    episode: Episode | None = None
    opening: Opening | None = None
    format: ReplyFormat | None = None
    status: CompletionStatus | None = None
    cut: CompletionStatus | None = None
    ids: list[int] = field(factory=list)
    sampled: list[bool] = field(factory=list)
    logprobs: list[float] = field(factory=list)
    turns: list[Turn] = field(factory=list)
    calls: tuple[ToolCall, ...] = ()
    info: dict[str, Any] = field(factory=dict)
    version: int | None = None
    tool_calls: int = 0
    failed_calls: int = 0
    seconds: float = 0.0
    _given_up: bool = field(init=False, default=False)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    @property
    def context(self) -> EncodedPrompt:
        """All that the policy has read and said, as the prompt of its next turn."""
        return evolve(self.prompt, token_ids=(*self.prompt.token_ids, *self.ids)) if self.ids else self.prompt

    @property
    def read_ids(self) -> list[int]:
        """Tokens that the policy had read when it said the last turn."""
        return [*self.prompt.token_ids, *self.ids[: self.turns[-1].start]]

    @property
    def reply_ids(self) -> list[int]:
        """Tokens of the last turn."""
        return self.ids[self.turns[-1].start : self.turns[-1].end]

    def attach(self, episode: Episode) -> bool:
        """Takes an episode that was opened; False where it comes too late."""
        with self._lock:
            if not self._given_up:
                self.episode = episode
            return not self._given_up

    def give_up(self) -> Episode | None:
        """The episode that is to be closed; one that comes later is not taken."""
        with self._lock:
            self._given_up = True
            return self.episode

    def room(self, limits: Limits) -> tuple[float, float]:
        """Tokens that the context of the model, and the limit of tokens, still have room for."""
        used = len(self.ids)
        context = float("inf") if limits.context is None else limits.context - len(self.prompt.token_ids) - used
        return context, float("inf") if limits.tokens is None else limits.tokens - used

    def say(self, drawn: Drawn, limits: Limits, decode: Callable[[Sequence[int]], str]) -> None:
        """A turn that was sampled, as far as there is room for it.

        Args:
            drawn: as the backend sampled it.
            limits: see there.
            decode: tokens to text, without special tokens.
        """
        context, tokens = self.room(limits)
        kept = int(min(len(drawn.ids), context, tokens))
        self.cut = None
        if drawn.truncated or kept < len(drawn.ids):
            self.cut = CompletionStatus.TRUNCATED
            if min(context, tokens) < self.sampling.max_tokens:
                self.cut = CompletionStatus.TOKEN_LIMIT if tokens <= context else CompletionStatus.CONTEXT_FULL
        start = len(self.ids)
        self.ids += drawn.ids[:kept]
        self.sampled += [True] * kept
        self.logprobs += drawn.logprobs[:kept]
        self.version = drawn.version if self.version is None else min(drawn.version, self.version)
        text = drawn.text if kept == len(drawn.ids) else decode(drawn.ids[:kept])
        self.turns.append(Turn(start, len(self.ids), text, {}, truncated=self.cut is not None))

    def understand(self, reply: Message, calls: tuple[ToolCall, ...], failed: int) -> None:
        """What the turn said."""
        self.turns[-1] = evolve(self.turns[-1], reply=reply)
        self.calls = calls
        self.tool_calls += len(calls)
        self.failed_calls += failed

    def hear(self, messages: Sequence[Message]) -> None:
        """What was answered to the turn."""
        self.turns[-1] = evolve(self.turns[-1], answers=tuple(messages))

    def read(self, ids: Sequence[int]) -> None:
        """Tokens that were not sampled."""
        self.ids += ids
        self.sampled += [False] * len(ids)
        self.logprobs += [0.0] * len(ids)

    def reward(self, rewards: Mapping[str, float | None]) -> None:
        """Adds to what the last turn earned; None never takes the place of a number."""
        earned = dict(self.turns[-1].rewards)
        for name, value in rewards.items():
            before = earned.get(name)
            earned[name] = before if value is None else float(value) + (before or 0.0)
        self.turns[-1] = evolve(self.turns[-1], rewards=earned)

    def earned(self, name: str) -> float | None:
        """A reward so far; None where no turn was given it."""
        given = [value for turn in self.turns if (value := turn.rewards.get(name)) is not None]
        return sum(given) if given else None

    def whole_info(self) -> dict[str, Any]:
        """What the environment had to say, and what was counted."""
        reported = self.info.get("failed_calls", 0)
        failed = self.failed_calls + (max(reported, 0) if isinstance(reported, int) else 0)
        figures = {"tool_calls": self.tool_calls, "failed_calls": failed, "seconds": self.seconds}
        return {**self.info, FIGURES: figures}
