"""How a chat template writes what follows a reply, and how its model writes calls of tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from morl.conversation.bridge import Bridge
from morl.conversation.call_formats import CallFormat, call_format_of
from morl.conversation.calls import ParsedReply
from morl.prompts.template import ChatTemplate
from morl.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@frozen(eq=False)
class ReplyFormat:
    """How a chat template writes what follows a reply, and how its model writes calls of tools.

    Made once for each set of tools, by `ReplyFormat.of`.
    """

    _bridge: Bridge
    _calls: CallFormat | None

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: ChatTemplate,
        tools: Sequence[Mapping[str, Any]] = (),
        call_format: str = "auto",
        end_ids: Iterable[int],
    ) -> ReplyFormat:
        """The format of a tokenizer and its chat template.

        Args:
            tokenizer: of the policy.
            template: what the chat template is given besides the messages.
            tools: JSON schemas of the functions that the policy may call.
            call_format: how calls are written; `auto` finds out from what the template writes for a call.
            end_ids: tokens that end a completion, as `morl.rollout.ends.end_ids` has them.

        Raises:
            ConfigError: the template cannot continue a conversation, or leaves the tools out; an unknown call format,
                or none that can be found out.
        """
        bridge = Bridge(tokenizer, template, tuple(tools), frozenset(end_ids))
        return cls(bridge, call_format_of(call_format, bridge))

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a reply.  The backend has to stop at each of them (`sampling.stop_token_ids`)."""
        return self._bridge.ends

    def continuation(self, reply_ids: Sequence[int], messages: Sequence[Message]) -> tuple[int, ...]:
        """The tokens to append after a sampled reply, up to and with the opening of the next one.

        None of them was sampled, the end token of a reply that was cut included.

        Args:
            reply_ids: the sampled tokens of the reply, all of them, with the end token where it was drawn.
            messages: of the environment, at least one, of the roles `tool` or `user`.

        Raises:
            TemplateFailed: the template cannot continue this reply with these messages.
        """
        return self._bridge.continuation(reply_ids, messages)

    def parse(self, reply_ids: Sequence[int], turn: int = 0) -> ParsedReply:
        """What a reply says: text and calls of tools.  Never raises.

        Args:
            reply_ids: the sampled tokens of the reply.
            turn: number of the reply in its conversation, from 0; makes the ids of calls distinct.
        """
        ids = [*reply_ids[:-1], *(token for token in reply_ids[-1:] if token not in self.ends)]
        text = str(self._bridge.tokenizer.decode(ids, skip_special_tokens=False))
        if self._calls is None:
            return ParsedReply({"role": "assistant", "content": text})
        return self._calls.parse(text, self._bridge.tools, turn)
