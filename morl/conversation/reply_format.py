"""How a chat template writes what follows a reply, and how its model writes calls of tools."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from morl.conversation.bridge import Bridge
from morl.conversation.calls import ParsedReply
from morl.conversation.check import changes, check_roles, check_tools
from morl.conversation.detect import AUTO, call_format_of, thinking_of
from morl.conversation.errors import TemplateFailed
from morl.conversation.reading import Reader, by_name
from morl.errors import ConfigError
from morl.prompts.template import ChatTemplate
from morl.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TAIL = 16
"""Tokens before a reply that are looked at for the opening of thinking."""


@frozen(eq=False)
class ReplyFormat:
    """How a chat template writes what follows a reply, and how its model writes calls of tools.

    Made once for each set of tools, by `ReplyFormat.of`; nothing of it changes, so that threads may share it.
    """

    _bridge: Bridge
    _reader: Reader
    _opening: str
    _refused: Mapping[str, str]

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: ChatTemplate,
        tools: Sequence[Mapping[str, Any]] = (),
        call_format: str = AUTO,
        end_ids: Iterable[int],
    ) -> ReplyFormat:
        """The format of a tokenizer and its chat template.

        Args:
            tokenizer: of the policy.
            template: what the chat template is given besides the messages.
            tools: JSON schemas of the functions that the policy may call.  Where there are none, calls are looked for
                only if a call format is named, and may have any name.
            call_format: how calls are written; `auto` finds out from what the template writes for a call.
            end_ids: tokens that end a completion, as `morl.rollout.ends.end_ids` has them.

        Raises:
            ConfigError: the template cannot continue a conversation, or leaves the tools out; an unknown call format,
                or one that cannot be found out.
        """
        if template.source is None and not tokenizer.chat_template:
            raise ConfigError(
                f"a conversation needs a chat template, but the tokenizer {tokenizer.name_or_path!r} has none; use an"
                " instruction-tuned model, or give a template's file as `chat_template`"
            )
        bridge = Bridge(tokenizer, template, tuple(tools), frozenset(end_ids))
        if tools:
            check_tools(bridge)
        refused = check_roles(bridge)
        calls = call_format_of(call_format, bridge)
        known = by_name(tools) if tools or call_format == AUTO else None
        opening = bridge.render([{"role": "user", "content": "u"}], add_generation_prompt=True)
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        unseen = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        return cls(bridge, Reader(calls, thinking_of(bridge, calls), known, unseen), opening, refused)

    def changes(self) -> tuple[str, ...]:
        """What the template would write in another way if it were asked for a conversation anew, one sentence each.

        Of no consequence in training, where nothing is rewritten, but for who uses the model afterwards.
        """
        return changes(self._bridge, thinks=self._reader.thinking is not None or self._bridge.has("<|channel|>"))

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a reply.  The backend has to stop at each of them (`sampling.stop_token_ids`)."""
        return self._bridge.ends

    def continuation(
        self, reply_ids: Sequence[int], messages: Sequence[Message], context_ids: Sequence[int] = ()
    ) -> tuple[int, ...]:
        """The tokens to append after a sampled reply, up to and with the opening of the next one.

        None of them was sampled.  Of a reply that was cut, they begin with its end token, and before this with the
        closing of thinking if it was cut in the middle of that.

        Args:
            reply_ids: the sampled tokens of the reply, all of them, with the end token where it was drawn.
            messages: of the environment, at least one, of the roles `tool` or `user`.
            context_ids: what the policy had read before the reply; tells whether the reply began with thinking.

        Raises:
            TemplateFailed: the template cannot continue this reply with these messages.
        """
        for message in messages:
            if reason := self._refused.get(str(message["role"])):
                raise TemplateFailed(f"the chat template {reason}")
        more = self._bridge.continuation(reply_ids, messages)
        if reply_ids and reply_ids[-1] in self.ends:
            return more
        closing = self._reader.unclosed(self._text(reply_ids), self._context(context_ids))
        return (*self._bridge.encode(closing), *more) if closing else more

    def parse(self, reply_ids: Sequence[int], turn: int = 0, context_ids: Sequence[int] = ()) -> ParsedReply:
        """What a reply says: thinking, text and calls of tools.  Never raises.

        Args:
            reply_ids: the sampled tokens of the reply.
            turn: number of the reply in its conversation, from 0; makes the ids of calls distinct.
            context_ids: what the policy had read before the reply; tells whether the reply began with thinking.
                Without it, a reply to a message of the user is assumed.
        """
        return self._reader.read(self._text(reply_ids), self._context(context_ids), turn)

    def _text(self, reply_ids: Sequence[int]) -> str:
        ended = bool(reply_ids) and reply_ids[-1] in self.ends
        ids = list(reply_ids[:-1] if ended else reply_ids)
        return str(self._bridge.tokenizer.decode(ids, skip_special_tokens=False))

    def _context(self, context_ids: Sequence[int]) -> str:
        if not len(context_ids):
            return self._opening
        return str(self._bridge.tokenizer.decode(list(context_ids[-_TAIL:]), skip_special_tokens=False))
