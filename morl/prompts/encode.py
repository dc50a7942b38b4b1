"""Prompts as the policy reads them: chat template and tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, overload

from attrs import field, frozen

from morl.errors import ConfigError, DataError
from morl.prompts.characters import check_characters, check_row
from morl.prompts.template import ChatTemplate
from morl.types import EncodedPrompt, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)

NOT_THE_MODELS = (
    "this tokenizer is not the model's, or has tokens added that the model lacks; take the model's own, or call"
    " `resize_token_embeddings` and save the model"
)
"""What is to be done about a token id that the model does not know."""

MOST_LOOKED = 1000
"""Rows that are looked at for text that a template has rendered already."""


@frozen
class _Around:
    """What a tokenizer puts around a text of its own accord.

    Attributes:
        before: token ids, most often that of the beginning of a sequence.
        after: token ids, of the end of a sequence; wrong in a prompt, which is to be continued.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> _Around:
        for text in ("a", "0", "."):
            bare = tokenizer(text, add_special_tokens=False)["input_ids"]
            full = tokenizer(text, add_special_tokens=True)["input_ids"]
            for start in range(len(full) - len(bare) + 1):
                if bare and full[start : start + len(bare)] == bare:
                    return cls(tuple(full[:start]), tuple(full[start + len(bare) :]))
        return cls((), ())

    def completed(self, ids: list[int]) -> list[int]:
        """The ids of a text to be continued, with what belongs before it, once."""
        return ids if tuple(ids[: len(self.before)]) == self.before else [*self.before, *ids]


@frozen(eq=False)
class EncodedPrompts(Sequence[EncodedPrompt]):
    """A view of prompts that encodes a row when it is asked for.

    Chat messages pass through the chat template, up to where the assistant's turn begins, or, where they end with the
    assistant's words, up to the end of these.  Plain text gets the special tokens that the tokenizer puts in front of
    it, e.g. a beginning-of-sequence token, unless it begins with them; those that the tokenizer puts behind a text are
    left out, for a prompt is to be continued.

    Attributes:
        prompts: of the source.
        tokenizer: of the policy.
        rows: which rows of `prompts`, in order; becomes the `index` of each.
        template: what the chat template is given besides the messages.
        vocabulary: token ids that the model knows; None takes all of the tokenizer.
    """

    prompts: Sequence[Prompt]
    tokenizer: PreTrainedTokenizerBase
    rows: Sequence[int]
    template: ChatTemplate = field(factory=ChatTemplate)
    vocabulary: int | None = None
    _around: _Around = field(init=False)

    @_around.default
    def _of_tokenizer(self) -> _Around:
        return _Around.of(self.tokenizer)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> EncodedPrompt: ...
    @overload
    def __getitem__(self, index: slice) -> list[EncodedPrompt]: ...
    def __getitem__(self, index: int | slice) -> EncodedPrompt | list[EncodedPrompt]:
        if isinstance(index, slice):
            return [self._encode(row) for row in self.rows[index]]
        return self._encode(self.rows[index])

    def _encode(self, row: int) -> EncodedPrompt:
        encoded = self._as_tokens(row)
        if self.vocabulary is not None and (highest := max(encoded.token_ids)) >= self.vocabulary:
            raise DataError(
                f"the prompt of row {row} encodes to the token id {highest}"
                f" ({self.tokenizer.convert_ids_to_tokens(highest)!r}), and the model's vocabulary has"
                f" {self.vocabulary}: {NOT_THE_MODELS}"
            )
        return encoded

    def _as_tokens(self, row: int) -> EncodedPrompt:
        prompt = self.prompts[row]
        check_characters(prompt.content, f"the prompt of row {row}")
        check_row(prompt.columns, f"row {row}")
        if not isinstance(prompt.content, str):
            return encode_chat(prompt, self.tokenizer, self.template, row)
        shown, hidden = self.template.guarded(prompt.content, self.tokenizer, f"the prompt of row {row}")
        ids = self._around.completed(self.template.encode(shown, hidden, self.tokenizer))
        text = hidden.restore(shown)
        if not ids:
            raise DataError(f"the prompt of row {row} encodes to no tokens: {text!r:.80}")
        return EncodedPrompt(prompt, text, tuple(ids), row)


def encode_chat(prompt: Prompt, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate, row: int) -> EncodedPrompt:
    """A prompt of chat messages, up to where the policy goes on.

    Raises:
        DataError: see `ChatTemplate.render`; half a character.
    """
    shown, hidden = template.render_hidden(prompt, tokenizer, row)
    check_characters(shown, f"the prompt of row {row}")
    ids = template.encode(shown, hidden, tokenizer)
    text = hidden.restore(shown)
    if not ids:
        raise DataError(f"the prompt of row {row} encodes to no tokens: {text!r:.80}")
    return EncodedPrompt(prompt, text, tuple(ids), row)


def encode_prompts(
    prompts: Sequence[Prompt],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int | None = None,
    on_long: Literal["error", "skip"] = "error",
    template: ChatTemplate | None = None,
    vocabulary: int | None = None,
) -> EncodedPrompts:
    """The prompts of a run, encoded as they are asked for.

    With `max_tokens` every prompt is tokenized once now, so that one that is too long, or cannot be encoded at all, is
    met before training and not in the middle of it.

    Args:
        prompts: of a source.
        tokenizer: of the policy.
        max_tokens: longest prompt that is accepted; None accepts all and saves the pass.
        on_long: `error` refuses a longer prompt, `skip` leaves its row out.
        template: what the chat template is given besides the messages.
        vocabulary: number of token ids that the model knows; None takes all of the tokenizer.

    Raises:
        DataError: no prompts, or none left; a prompt that is too long, or has tokens that the model lacks; chat
            messages for a tokenizer without chat template, or that its template refuses; half a character in a row.
        ConfigError: an unknown `on_long`; arguments for a chat template that does not look at them, or for text.
    """
    if on_long not in ("error", "skip"):
        raise ConfigError(f"on_long must be 'error' or 'skip'; got {on_long!r}")
    if not len(prompts):
        raise DataError("there are no prompts to encode")
    template = template or ChatTemplate()
    template.check(tokenizer)
    encoded = EncodedPrompts(prompts, tokenizer, range(len(prompts)), template, vocabulary)
    first = encoded[0].prompt  # a tokenizer that does not fit the prompts shows at once
    if isinstance(first.content, str) and not template.is_plain:
        raise ConfigError(
            "options of the chat template have no effect on prompts that are text; set `chat: true`, or leave them out"
        )
    if not isinstance(first.content, str) and template.special_tokens == "keep":
        _warn_of_rendered_text(prompts, tokenizer)
    if max_tokens is None:
        return encoded
    lengths = [len(each.token_ids) for each in encoded]
    kept = [row for row, length in enumerate(lengths) if length <= max_tokens]
    if len(kept) == len(lengths):
        return encoded
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    found = (
        f"{len(lengths) - len(kept)} of {len(lengths)} prompts are longer than {max_tokens} tokens (max_prompt_tokens);"
        f" the longest, row {longest}, has {lengths[longest]}"
    )
    if on_long == "error":
        raise DataError(f"{found}; raise it, or set on_long to skip to leave them out")
    if not kept:
        raise DataError(f"{found}; none is left")
    _log.warning("%s; they are left out", found)
    return EncodedPrompts(prompts, tokenizer, kept, template, vocabulary)


def _warn_of_rendered_text(prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase) -> None:
    """Messages that are a chat already, which the template would put into another; of as many rows as is quick."""
    special = tuple(token for token in tokenizer.all_special_tokens if token.strip())
    looked = [(row, prompts[row]) for row in range(min(len(prompts), MOST_LOOKED))]
    found = [(row, start) for row, prompt in looked if (start := _special_start(prompt, special)) is not None]
    if found:
        row, start = found[0]
        how_many = f", as in {len(found)} of the first {len(looked)} rows," if len(found) < len(looked) else ","
        _log.warning(
            "a message of row %d begins with the special token %s%s as if a chat template had made it; if your prompts"
            " are rendered already, leave the options `chat` and `system` out; if it is to stay text, set"
            " `special_tokens: text`",
            row,
            start,
            how_many,
        )


def _special_start(prompt: Prompt, special: tuple[str, ...]) -> str | None:
    """The special token that a message of somebody else than the policy begins with; None of text."""
    # What is no list of messages, or no message, is refused where it is encoded.
    for message in prompt.content if isinstance(prompt.content, list | tuple) else ():
        if not isinstance(message, Mapping) or message.get("role") == "assistant":
            continue
        content = message.get("content")
        if isinstance(content, str) and content.lstrip().startswith(special):
            return next(token for token in special if content.lstrip().startswith(token))
    return None
