"""What the policy answered: completions, the turns of a conversation, and how each ended.

A completion of one turn is what the policy sampled after the prompt.  In a conversation the tokens of an environment
stand between the turns: the policy has read them, but not drawn them, so nothing may be learned from them.

    prompt | sampled | environment | sampled | environment | sampled
           ^-- a completion: `completion_mask_BT`; its sampled tokens alone: `sampled_mask_BT`

`morl.types` has all names of this module; import them from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from attrs import field, frozen

Message: TypeAlias = Mapping[str, Any]
"""One chat message, `{"role": ..., "content": ...}`."""

Spans: TypeAlias = tuple[tuple[int, int], ...]
"""Where the turns of one completion lie: (start, end) of each, in columns of `RolloutBatch.completion_ids_BT`."""


@frozen(eq=False)
class Prompt:
    """One row of a prompt source.

    Attributes:
        content: plain text, or the chat messages that the tokenizer's chat template renders.
        columns: everything else the row holds; reward providers read their references from here.
    """

    content: str | Sequence[Message]
    columns: Mapping[str, Any] = field(factory=dict)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The content as chat messages; plain text is one of the user."""
        return ({"role": "user", "content": self.content},) if isinstance(self.content, str) else tuple(self.content)


class CompletionStatus(StrEnum):
    """How a completion ended.  The list is closed: nothing else occurs.

    Attributes:
        COMPLETED: by itself, with an end-of-sequence token or a stop string; a conversation, because its environment
            was done.
        TRUNCATED: the last turn reached `sampling.max_tokens` before it ended.
        CONTEXT_FULL: the model has no positions left for the environment's answer, or for the rest of the last turn.
        TOKEN_LIMIT: the conversation reached its limit of tokens, those of the environment included.
        TURN_LIMIT: the conversation reached its limit of turns.
        TOOL_LIMIT: the conversation reached its limit of tool calls.
        TEMPLATE_FAILED: the chat template cannot continue after the reply that was sampled.
        ENVIRONMENT_FAILED: the environment raised, or gave an answer that breaks its contract.
        ENVIRONMENT_TIMEOUT: the environment did not answer in time.
    """

    COMPLETED = "completed"
    TRUNCATED = "truncated"
    CONTEXT_FULL = "context_full"
    TOKEN_LIMIT = "token_limit"
    TURN_LIMIT = "turn_limit"
    TOOL_LIMIT = "tool_limit"
    TEMPLATE_FAILED = "template_failed"
    ENVIRONMENT_FAILED = "environment_failed"
    ENVIRONMENT_TIMEOUT = "environment_timeout"


@frozen(eq=False)
class Turn:
    """One run of sampled tokens, and what the environment answered.

    Attributes:
        start: first column of the turn's tokens in `RolloutBatch.completion_ids_BT`.
        end: one past the last; every token between the two was sampled.
        text: the tokens decoded without special tokens.
        reply: the turn as a chat message of the assistant, calls of tools parsed.
        answers: messages of the environment that followed; none after the last turn, as a rule.
        truncated: a limit of tokens came before the turn ended by itself.
        rewards: what the environment gave for this turn, by name; None where a reward did not apply.
    """

    start: int
    end: int
    text: str
    reply: Message
    answers: tuple[Message, ...] = ()
    truncated: bool = False
    rewards: Mapping[str, float | None] = field(factory=dict)

    @property
    def length(self) -> int:
        """Number of sampled tokens."""
        return self.end - self.start


@frozen(eq=False)
class EnvironmentAnswer:
    """What an environment answers to one reply.

    Attributes:
        messages: chat messages of the role `tool` or `user`, with text as content; none only where the episode is done.
            A reply with calls of tools is answered with one `tool` message for each, in their order, or with none.
        done: the episode is over, and nothing more will be asked.
        rewards: by name, given for this reply; the reward of an episode is the sum of what its answers gave.  None
            says that a reward does not apply; a reward that no answer gave a number is missing.
        info: whatever else is worth keeping; of an episode the later answers override the earlier ones.
    """

    messages: Sequence[Message] = ()
    done: bool = False
    rewards: Mapping[str, float | None] = field(factory=dict)
    info: Mapping[str, Any] = field(factory=dict)


@frozen(eq=False)
class Completion:
    """One completion, as a reward provider sees it.

    What a completion is made with says all of one that has a single turn; `turns` and `status` then follow from it.

    Attributes:
        prompt: the prompt with its columns.
        text: what was sampled, decoded without special tokens; may be empty.  Of a conversation, the last turn's: the
            answer that the policy settled on.  A reward that reads what was said before looks into `turns`.
        token_ids: all sampled tokens, end-of-sequence tokens included where they were drawn.  Of a conversation, those
            of every turn one after the other, and none of the environment's.
        truncated: a limit of tokens ended the (last) turn, before it ended by itself.
        turns: in their order; of one that was sampled in one go, a single one.
        status: how it ended.
        info: what an environment has to say about the episode besides its rewards.
        logprobs: of each sampled token under the policy at the start of the step; None on held-out prompts, and unless
            a reward asks by `needs_reference`.
        reference_logprobs: of the same under the reference policy, likewise.
    """

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...]
    truncated: bool = False
    _turns: tuple[Turn, ...] | None = field(default=None, kw_only=True)
    _status: CompletionStatus | None = field(default=None, kw_only=True)
    info: Mapping[str, Any] = field(factory=dict, kw_only=True)
    logprobs: tuple[float, ...] | None = field(default=None, kw_only=True)
    reference_logprobs: tuple[float, ...] | None = field(default=None, kw_only=True)

    @property
    def length(self) -> int:
        """Number of sampled tokens, in all turns."""
        return len(self.token_ids)

    @property
    def is_conversation(self) -> bool:
        """Whether an environment took part, be it that there was a single turn."""
        return self._turns is not None

    @property
    def turns(self) -> tuple[Turn, ...]:
        return (only_turn(self.text, self.length, self.truncated),) if self._turns is None else self._turns

    @property
    def status(self) -> CompletionStatus:
        return plain_status(self.truncated) if self._status is None else self._status

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation: the prompt's messages, then every reply with the answers to it."""
        said = (message for turn in self.turns for message in (turn.reply, *turn.answers))
        return (*self.prompt.messages, *said)


def only_turn(text: str, length: int, truncated: bool) -> Turn:
    """The turn of a completion that was sampled in one go."""
    return Turn(0, length, text, {"role": "assistant", "content": text}, (), truncated)


def plain_status(truncated: bool) -> CompletionStatus:
    """The status of a completion that was sampled in one go."""
    return CompletionStatus.TRUNCATED if truncated else CompletionStatus.COMPLETED
