"""The tokens that a chat template puts between a reply and the next one.

A conversation goes on from the tokens that were sampled, which are never decoded and encoded again.  What follows them
is found with a marker: a short conversation is rendered whose reply holds the marker, and what stands after the marker,
from the end of the reply on, is what the template writes after any reply.  Nothing is said about what stands before;
templates that write old replies in another way than new ones do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from morl.conversation.errors import TemplateFailed
from morl.errors import DataError
from morl.prompts.special_tokens import SpecialTokens, changed
from morl.prompts.template import ChatTemplate
from morl.texts import texts_in
from morl.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK, _PROBE = "Zq7VxMARK", "Zq7VxPROBE"
"""Letters and digits alone, so that no template quotes, trims or escapes a part of it."""

_ENDS = ("<|eom_id|>", "<|call|>", "<|return|>", "<|observation|>", "<|tool_response>")
"""Tokens that end replies of one kind only, besides the one that ends a plain reply: Llama 3.1 and 3.2, GPT-OSS, GLM,
Gemma 4."""

_STARTS = ("<|im_start|>", "<|start|>", "<|start_header_id|>", "<start_of_turn>", "<|turn>", "<|START_OF_TURN_TOKEN|>")
"""Tokens that open a message of any role, and so never end a reply."""

_OPENERS = ("<|user|>", "<|observation|>", "<|tool_response>", "<|assistant|>", "<|system|>")
"""Tokens that open a message.  GLM and Gemma 4 end a reply with the one of the message that is to follow."""


@frozen(eq=False)
class Bridge:
    """Continues conversations of one tokenizer, template and set of tools.

    Attributes:
        tokenizer: of the policy.
        template: what the chat template is given besides the messages.
        tools: JSON schemas, as the template wants them.
        end_ids: tokens that end a completion for the tokenizer and the model.
        ends: tokens that end a reply, the template's own included.
        special: tokens that only the template may write.
    """

    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    tools: tuple[Mapping[str, Any], ...] = ()
    end_ids: frozenset[int] = frozenset()
    special: SpecialTokens = field(init=False)
    _plain: tuple[int, ...] = field(init=False)
    _named: frozenset[int] = field(init=False)
    _openers: frozenset[int] = field(init=False)
    ends: frozenset[int] = field(init=False)
    _closed: dict[str, bool] = field(init=False, factory=dict)

    @special.default
    def _of_the_template(self) -> SpecialTokens:
        return SpecialTokens.of(self.tokenizer, self.source)

    @_named.default
    def _that_end_replies_of_a_kind(self) -> frozenset[int]:
        return frozenset(index for name in _ENDS if (index := self._token(name)) is not None)

    @ends.default
    def _of_sampled_replies(self) -> frozenset[int]:
        # Not every token that closes a reply ends it: replies of GPT-OSS consist of messages, each with its <|end|>,
        # and those of Cohere close with two tokens, of which the first may be anywhere.
        inner = self._token("<|end|>") if self._token("<|call|>") is not None else None
        plain = () if self.end_ids.intersection(self._plain) or inner in self._plain else self._plain[:1]
        return self.end_ids | self._named | {*plain}

    @_openers.default
    def _that_open_messages(self) -> frozenset[int]:
        return frozenset(index for name in _OPENERS if (index := self._token(name)) is not None)

    def continuation(self, reply_ids: Sequence[int], messages: Sequence[Message]) -> tuple[int, ...]:
        """The tokens to put after a sampled reply, up to and with the opening of the next one.

        Args:
            reply_ids: as they were sampled.  Of a reply that was cut, the end token is among the answer.
            messages: of the environment, at least one.

        Raises:
            TemplateFailed: the template refuses the messages, or the reply ended with the opening of another message.
        """
        more = self._after(messages)
        last = reply_ids[-1] if reply_ids and reply_ids[-1] in self.ends else None
        if last is None or not self._is_closed(str(messages[0]["role"])):
            return tuple(more)
        if last in more[: self._closing(more)]:
            return tuple(more[more.index(last) + 1 :])
        if self._openers & {last, more[0]}:
            was, needed = (self.tokenizer.convert_ids_to_tokens(token) for token in (last, more[0]))
            raise TemplateFailed(
                f"the reply ended with {was}, but a message of the role {messages[0]['role']!r} begins with {needed}"
            )
        return tuple(more[1:])

    def _closing(self, ids: Sequence[int]) -> int:
        """Number of end tokens that `ids` begin with."""
        return next((count for count, token in enumerate(ids) if token not in self._cuts), len(ids))

    @property
    def _cuts(self) -> frozenset[int]:
        return self.ends.union(self._plain)

    def _after(self, messages: Sequence[Message]) -> list[int]:
        assert messages, "an environment that answers nothing ends the episode"
        shown, hidden = self.special.hide([changed(message, _whole_characters) for message in messages])
        mark = MARK
        while any(mark in text for text in texts_in(shown, keys=True)):
            mark += "K"
        reason, closed = "the end of a reply is not found", self._is_closed(str(messages[0]["role"]))
        for reply in _replies(shown, mark) if closed else [_said(mark)]:
            try:
                text = self.render([{"role": "user", "content": "u"}, reply, *shown], add_generation_prompt=True)
            except Exception as error:  # noqa: BLE001 - templates raise what they like
                reason = f"{type(error).__name__}: {error}"
                continue
            _, found, after = text.rpartition(mark)
            if not found:
                reason = "it leaves out the reply"
                continue
            try:
                ids = self.special.encode(after, hidden)
            except DataError as error:
                raise TemplateFailed(str(error)) from error
            start = next((index for index, token in enumerate(ids) if token in self._cuts), None) if closed else 0
            if start is not None:
                return ids[start:]
        roles = ", ".join(str(message["role"]) for message in messages)
        raise TemplateFailed(f"the chat template cannot continue a reply with messages of the roles {roles}: {reason}")

    def _is_closed(self, role: str) -> bool:
        """Whether the template ends a reply with a token before a message of a role; without one nothing is cut."""
        if role not in self._closed:
            message = {"role": role, "name": "f", "tool_call_id": "call00000", "content": _PROBE}
            heads = (self._between(reply, message) for reply in _replies([message], MARK))
            head = next((head for head in heads if head is not None), None)
            self._closed[role] = head is None or not self._cuts.isdisjoint(self.encode(head))
        return self._closed[role]

    def _between(self, reply: Message, message: Message) -> str | None:
        """What stands between the marker in a reply and the message after it; None where either is missing."""
        try:
            text = self.render([{"role": "user", "content": "u"}, reply, message], add_generation_prompt=True)
        except Exception:  # noqa: BLE001 - templates raise what they like
            return None
        _, found, after = text.rpartition(MARK)
        head, probed, _ = after.partition(_PROBE)
        return head if found and probed else None

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """The text of messages."""
        return str(
            self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=[dict(tool) for tool in self.tools] or None,
                chat_template=self.template.source,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **self.template.arguments,
            )
        )

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @_plain.default
    def _that_close_plain_replies(self) -> tuple[int, ...]:
        """The special tokens with which a template closes a reply, whatever follows."""
        special = {index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        messages: list[Message] = [{"role": "user", "content": "u"}, {"role": "assistant", "content": MARK}]
        try:
            text = self.render([*messages, {"role": "user", "content": "u"}], add_generation_prompt=False)
        except Exception:  # noqa: BLE001
            return ()
        found = [token for token in self.encode(text.partition(MARK)[2]) if token in special | self.end_ids]
        if not found or found[0] in {self._token(name) for name in _STARTS}:
            return ()
        closes_with_two = len(found) > 1 and found[0] not in self.end_ids and found[1] in self.end_ids
        return tuple(found[: 2 if closes_with_two else 1])

    def with_tools(self, tools: Sequence[Mapping[str, Any]]) -> Bridge:
        """The same with other tools."""
        return evolve(self, tools=tuple(tools))

    @property
    def source(self) -> str:
        """The text of the chat template; of a tokenizer that has several, of all of them."""
        return self.template.text(self.tokenizer)

    def has(self, name: str) -> bool:
        """Whether the tokenizer has an added token of this text."""
        return self._token(name) is not None

    def _token(self, name: str) -> int | None:
        found = self.tokenizer.added_tokens_encoder.get(name)
        return None if found is None else int(found)


def _whole_characters(text: str) -> str:
    """Text that can be encoded: half a character, as an operating system may hand out, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _replies(messages: Sequence[Message], mark: str) -> Iterator[dict[str, Any]]:
    """Replies with the marker that the messages may answer, the likeliest first."""
    if messages[0]["role"] == "tool":
        called = [message for message in messages if message["role"] == "tool"]
        for answered in (called, called[:1]) if len(called) > 1 else (called,):
            # DeepSeek's templates want arguments as text.
            for arguments in ({"x": mark}, f'{{"x": "{mark}"}}'):
                calls = [_call(message, arguments if message is answered[-1] else {}) for message in answered]
                yield {"role": "assistant", "content": "", "tool_calls": calls}
    yield _said(mark)


def _said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _call(message: Message, arguments: Mapping[str, Any] | str) -> dict[str, Any]:
    function = {"name": message.get("name", "f"), "arguments": arguments}  # some templates write the name once more
    return {"type": "function", "id": message.get("tool_call_id", "call00000"), "function": function}
