"""How a completion ends by itself: an end-of-sequence token, or a stop string in its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field


def end_tokens(tokenizer: Any, generation_config: Any) -> frozenset[int]:
    """End-of-sequence ids of the tokenizer and of the model's generation config, which may name several."""
    found: set[int] = set()
    for ids in (tokenizer.eos_token_id, getattr(generation_config, "eos_token_id", None)):
        if ids is not None:
            found.update([ids] if isinstance(ids, int) else ids)
    return frozenset(found)


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
