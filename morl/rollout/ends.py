"""How a completion ends by itself: an end-of-sequence token, or a stop string in its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field

from morl.errors import ConfigError
from morl.types import Sampling

_CONTEXTS = ("{}", "a{}", "a{}a", "a {} a", ".{}\n")
"""Where a stop string may stand; the tokens around it decide whether a tokenizer's decoder keeps its spaces."""


def end_tokens(tokenizer: Any, generation_config: Any) -> frozenset[int]:
    """End-of-sequence ids of the tokenizer and of the model's generation config, which may name several."""
    found: set[int] = set()
    for ids in (tokenizer.eos_token_id, getattr(generation_config, "eos_token_id", None)):
        if ids is not None:
            found.update([ids] if isinstance(ids, int) else ids)
    return frozenset(found)


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Tokens that decoding leaves out of the text, with their ids."""
    found = {token.content: index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return found | dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))


def end_ids(tokenizer: Any, generation_config: Any, sampling: Sampling) -> frozenset[int]:
    """All tokens that end a completion: `end_tokens`, `sampling.stop_token_ids`, and stop strings that are a token.

    A special token is not in the text, where stop strings are looked for.
    """
    special = special_tokens(tokenizer) if sampling.stop else {}
    named = {special[text] for text in sampling.stop if text in special}
    return end_tokens(tokenizer, generation_config) | named | {*sampling.stop_token_ids}


def check_stops(tokenizer: Any, sampling: Sampling, vocabulary: int) -> None:
    """Refuses ends that no completion can have.

    Args:
        tokenizer: of the policy.
        sampling: see there.
        vocabulary: number of tokens that the model can sample.

    Raises:
        ConfigError: names the stop string or token, and why it cannot match.
    """
    for index in sampling.stop_token_ids:
        if index >= vocabulary:
            raise ConfigError(
                f"sampling.stop_token_ids: there is no token {index}, the model's vocabulary has {vocabulary}"
            )
    special = special_tokens(tokenizer)
    for text in sampling.stop:
        if special.get(text, vocabulary) < vocabulary:
            continue
        inside = next((token for token in sorted(special, key=len, reverse=True) if token and token in text), None)
        if inside is not None:
            raise ConfigError(
                f"sampling.stop: {text!r} can never match, for {inside!r} in it is a special token, which the text of"
                f" a completion leaves out; stop at the token: stop: [{inside!r}]"
            )
        if not _can_be_said(tokenizer, text):
            raise ConfigError(
                f"sampling.stop: {text!r} can never match: the tokenizer writes it as"
                f" {_there_and_back(tokenizer, text)!r}; stop at what it writes"
            )


def _can_be_said(tokenizer: Any, text: str) -> bool:
    if any(text in _there_and_back(tokenizer, context.format(text)) for context in _CONTEXTS):
        return True
    if _there_and_back(tokenizer, text):
        return False
    # A tokenizer may lose what it reads and still write it: a model can sample tokens that no text is encoded as.
    written = set().union(*(tokenizer.decode([index], skip_special_tokens=True) for index in range(len(tokenizer))))
    return written.issuperset(text)


def _there_and_back(tokenizer: Any, text: str) -> str:
    try:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    except (UnicodeEncodeError, TypeError):
        return ""
    return str(tokenizer.decode(ids, skip_special_tokens=True))


@define(eq=False)
class StopStrings:
    """Follows the text of growing completions, looking only where a stop string can just have been completed.

    The last character of a stop string comes with the newest token, so only a token that bears it, or a part of its
    bytes, makes a completion worth decoding; and then only a tail long enough to hold the stop string.

    Args:
        stop: the stop strings.
        tokenizer: decodes as the texts of the rollout are decoded, without special tokens.
    """

    stop: Sequence[str]
    tokenizer: Any
    _tail: int = field(init=False)
    _last: frozenset[str] = field(init=False)
    _bears_end: dict[int, bool] = field(init=False, factory=dict)
    _special: frozenset[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        # A byte-level tokenizer may spend a token on each byte; a few more for the spaces that decoding may drop.
        self._tail = 8 + max(len(text.encode()) for text in self.stop)
        self._last = frozenset(text[-1] for text in self.stop)
        self._special = frozenset(self.tokenizer.all_special_ids)

    def ended(self, token_ids: Sequence[int]) -> bool:
        """Whether the text of these tokens, of which only the last is new, contains a stop string."""
        if not self._may_end(token_ids[-1]):
            return False
        tail = [token for token, _ in zip(self._visible(token_ids), range(self._tail), strict=False)][::-1]
        text = self.tokenizer.decode(tail, skip_special_tokens=True)
        return any(stop in text for stop in self.stop)

    def _may_end(self, token: int) -> bool:
        known = self._bears_end.get(token)
        if known is None:
            text = self.tokenizer.decode([token], skip_special_tokens=True)
            # Decoding one token alone may lose its space, and shows half a character as U+FFFD.
            known = any(last in text or last.isspace() for last in self._last) or "\N{REPLACEMENT CHARACTER}" in text
            self._bears_end[token] = known
        return known

    def _visible(self, token_ids: Sequence[int]) -> Iterator[int]:
        return (token for token in reversed(token_ids) if token not in self._special)
