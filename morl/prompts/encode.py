"""Prompts as the policy reads them: chat template and tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

from attrs import frozen

from morl.errors import ConfigError, DataError
from morl.types import EncodedPrompt, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)


@frozen(eq=False)
class EncodedPrompts(Sequence[EncodedPrompt]):
    """A view of prompts that encodes a row when it is asked for.

    Chat messages pass through the tokenizer's chat template, up to where the assistant's turn begins; plain text gets
    the special tokens that the tokenizer puts around it, e.g. a beginning-of-sequence token.

    Attributes:
        prompts: of the source.
        tokenizer: of the policy.
        rows: which rows of `prompts`, in order; becomes the `index` of each.
    """

    prompts: Sequence[Prompt]
    tokenizer: PreTrainedTokenizerBase
    rows: Sequence[int]

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
        prompt = self.prompts[row]
        text = _render(prompt, self.tokenizer, row)
        ids = self.tokenizer(text, add_special_tokens=isinstance(prompt.content, str))["input_ids"]
        if not ids:
            raise DataError(f"the prompt of row {row} encodes to no tokens: {text!r:.80}")
        return EncodedPrompt(prompt, text, tuple(ids), row)


def encode_prompts(
    prompts: Sequence[Prompt],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int | None = None,
    on_long: Literal["error", "skip"] = "error",
) -> EncodedPrompts:
    """The prompts of a run, encoded as they are asked for.

    With `max_tokens` every prompt is tokenized once now, so that one that is too long, or cannot be encoded at all, is
    met before training and not in the middle of it.

    Args:
        prompts: of a source.
        tokenizer: of the policy.
        max_tokens: longest prompt that is accepted; None accepts all and saves the pass.
        on_long: `error` refuses a longer prompt, `skip` leaves its row out.

    Raises:
        DataError: no prompts, or none left; a prompt that is too long; chat messages for a tokenizer without chat
            template, or that its template refuses.
        ConfigError: an unknown `on_long`.
    """
    if on_long not in ("error", "skip"):
        raise ConfigError(f"on_long must be 'error' or 'skip'; got {on_long!r}")
    if not len(prompts):
        raise DataError("there are no prompts to encode")
    encoded = EncodedPrompts(prompts, tokenizer, range(len(prompts)))
    encoded[0]  # a tokenizer that does not fit the prompts shows at once
    if max_tokens is None:
        return encoded
    lengths = [len(each.token_ids) for each in encoded]
    kept = [row for row, length in enumerate(lengths) if length <= max_tokens]
    if len(kept) == len(lengths):
        return encoded
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    found = (
        f"{len(lengths) - len(kept)} of {len(lengths)} prompts are longer than max_tokens = {max_tokens};"
        f" the longest, row {longest}, has {lengths[longest]}"
    )
    if on_long == "error":
        raise DataError(f"{found}; raise max_tokens, or set on_long to skip to leave them out")
    if not kept:
        raise DataError(f"{found}; none is left")
    _log.warning("%s; they are left out", found)
    return EncodedPrompts(prompts, tokenizer, kept)


def _render(prompt: Prompt, tokenizer: PreTrainedTokenizerBase, row: int) -> str:
    """The text that is tokenized."""
    if isinstance(prompt.content, str):
        return prompt.content
    if tokenizer.chat_template is None:
        raise DataError(
            f"the prompt of row {row} is a chat, but the tokenizer {tokenizer.name_or_path!r} has no chat template;"
            " use an instruction-tuned model, give its tokenizer a template, or use text prompts"
        )
    messages = [dict(message) for message in prompt.content]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except Exception as error:
        raise DataError(
            f"the chat template of the tokenizer {tokenizer.name_or_path!r} refuses the prompt of row {row}:"
            f" {type(error).__name__}: {error}"
        ) from error
