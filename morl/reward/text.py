"""Rewards that look at the text or the length of a completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import regex  # type: ignore[import-untyped]
from attrs import field, frozen

from morl.errors import ConfigError
from morl.reward.patterns import check_time_limit, compile_pattern, within
from morl.types import Completion


@frozen(eq=False)
class RegexReward:
    """1 if a regular expression matches the completion, else 0.

    A pattern that backtracks for longer than `time_limit` is a failure of that completion, not a 0.

    Attributes:
        pattern: in the syntax of Python's `re`; flags go in front, e.g. `(?is)`.
        full_match: whether the pattern must cover the whole completion or may match anywhere in it.
        time_limit: seconds of processor time per completion, about; what other threads use does not count.

    Raises:
        ConfigError: a pattern that does not compile, or a limit that is not positive.

    >>> from morl.types import Completion, Prompt
    >>> completions = [Completion(Prompt("2+2?"), text, ()) for text in ("It is #### 4", "four")]
    >>> RegexReward(r"#### -?[0-9]+$").score(completions)
    [1.0, 0.0]
    """

    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    pattern: str
    full_match: bool = False
    time_limit: float = 1.0
    _compiled: Any = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_time_limit(self.time_limit)
        object.__setattr__(self, "_compiled", compile_pattern("pattern", self.pattern))

    def score(self, completions: Sequence[Completion]) -> list[float | Exception | None]:
        """1 or 0 each."""
        match = self._compiled.fullmatch if self.full_match else self._compiled.search
        scores: list[float | Exception | None] = []
        for text in (completion.text for completion in completions):
            try:
                found = within(self.time_limit, lambda timeout: match(text, timeout=timeout))  # noqa: B023
                scores.append(float(found is not None))
            except TimeoutError as error:
                scores.append(error)
        return scores


@frozen(eq=False)
class TagsReward:
    """1 if the completion consists of the given blocks, `<tag> .. </tag>`, once each and in this order, else 0.

    White space between the blocks is always allowed.

    Attributes:
        tags: names of the blocks.
        text_outside: whether other text may stand before, between and after the blocks.
        opened_by_prompt: the prompt ends with the first block's opening tag, so the completion starts inside it.
        non_empty: whether every block must hold more than white space.

    Raises:
        ConfigError: no tag, a tag named twice, or a name with white space or angle brackets.

    >>> from morl.types import Completion, Prompt
    >>> reward = TagsReward(["think", "answer"])
    >>> texts = ["<think>2+2</think>\\n<answer>4</answer>", "<answer>4</answer>", "4"]
    >>> reward.score([Completion(Prompt("2+2?"), text, ()) for text in texts])
    [1.0, 0.0, 0.0]
    """

    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    tags: Sequence[str]
    text_outside: bool = False
    opened_by_prompt: bool = False
    non_empty: bool = False

    def __attrs_post_init__(self) -> None:
        names = [] if isinstance(self.tags, str) else list(self.tags)
        if not names or len(set(names)) != len(names) or not all(regex.fullmatch(r"[^\s<>/]+", name) for name in names):
            raise ConfigError(f"tags must be distinct names without brackets, e.g. [think, answer]; got {self.tags!r}")

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """1 or 0 each."""
        expected = [f"<{slash}{tag}>" for tag in self.tags for slash in ("", "/")]
        any_tag = regex.compile("(" + "|".join(regex.escape(tag) for tag in expected) + ")")
        return [self._score(any_tag.split(self._whole(completion.text)), expected) for completion in completions]

    def _whole(self, text: str) -> str:
        return f"<{self.tags[0]}>{text}" if self.opened_by_prompt else text

    def _score(self, parts: list[str], expected: list[str]) -> float:
        """`parts`: text, tag, text, tag, .., text; so every fourth lies outside of any block from 0, inside from 2."""
        blank = self.text_outside or not any(outside.strip() for outside in parts[::4])
        filled = not self.non_empty or all(inside.strip() for inside in parts[2::4])
        return float(parts[1::2] == expected and blank and filled)


@frozen(eq=False)
class LengthReward:
    """1 if the completion has at most `limit` tokens, else 0 (the length reward of arXiv 2601.05242, section 4.2).

    An empty completion has full marks, so let it count only where another reward is reached: `estimator: {name:
    conditioned-gdpo, conditions: {brief: {on: correct}}}`.

    Attributes:
        limit: tokens, the end-of-sequence token included.
        allow_truncated: whether a completion that the token limit of sampling cut off may score 1.  With `limit` at or
            above that limit every completion is short enough, so only False leaves something to learn.

    Raises:
        ConfigError: a limit below 1.

    >>> from morl.types import Completion, Prompt
    >>> LengthReward(limit=2).score([Completion(Prompt("hi"), "", ids) for ids in ((1, 2), (1, 2, 3))])
    [1.0, 0.0]
    """

    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    limit: int
    allow_truncated: bool = True

    def __attrs_post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigError(f"limit must be at least 1 token; got {self.limit}")

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """1 or 0 each."""
        return [
            float(completion.length <= self.limit and (self.allow_truncated or not completion.truncated))
            for completion in completions
        ]


@frozen(eq=False)
class ExactMatchReward:
    """1 if the completion's text, or a part of it, equals a column of its row, else 0.

    Numbers in the column are compared as text; a row whose value is None has no answer, and the reward does not apply.
    For GSM8K: `ExactMatchReward("answer", extract="#### (.+)", extract_reference="#### (.+)")`.

    Attributes:
        column: holds the expected text.
        extract: regular expression for the part of the completion to compare: its first group, or all of it if it has
            none; the last match counts.  A completion without a match scores 0.
        extract_reference: the same for the column.  A column without a match is a failure: the row is at fault.
        ignore_case: compare without regard to case.
        strip: leave white space around both out of the comparison.
        time_limit: seconds of processor time, about, for each of the two patterns on one completion; exceeding it is a
            failure.  What other threads use does not count.

    Raises:
        ConfigError: a pattern that does not compile, or a limit that is not positive.

    >>> from morl.types import Completion, Prompt
    >>> prompt = Prompt("2+2?", {"answer": 4})
    >>> reward = ExactMatchReward("answer", extract="<answer>(.*?)</answer>")
    >>> reward.score([Completion(prompt, text, ()) for text in ("<answer> 4 </answer>", "4")])
    [1.0, 0.0]
    """

    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    column: str
    extract: str | None = None
    extract_reference: str | None = None
    ignore_case: bool = False
    strip: bool = True
    time_limit: float = 1.0
    _completion_pattern: Any = field(init=False, repr=False)
    _reference_pattern: Any = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_time_limit(self.time_limit)
        for option, private in (("extract", "_completion_pattern"), ("extract_reference", "_reference_pattern")):
            pattern = getattr(self, option)
            object.__setattr__(self, private, None if pattern is None else compile_pattern(option, pattern))

    @property
    def required_columns(self) -> tuple[str, ...]:
        """The column with the expected text."""
        return (self.column,)

    def score(self, completions: Sequence[Completion]) -> list[float | Exception | None]:
        """1 or 0 each; None where the row has no answer."""
        scores: list[float | Exception | None] = []
        for completion in completions:
            try:
                scores.append(self._score(completion))
            except (KeyError, TypeError, TimeoutError, ValueError) as error:
                scores.append(error)
        return scores

    def _score(self, completion: Completion) -> float | None:
        reference = completion.prompt.columns[self.column]
        if reference is None:
            return None
        if not isinstance(reference, (str, int, float)):
            raise TypeError(f"column {self.column!r} must hold text or a number; got {type(reference).__name__}")
        expected = self._part(self._reference_pattern, str(reference))
        if expected is None:
            raise ValueError(f"nothing in column {self.column!r} matches {self.extract_reference!r}: {reference!r}")
        return float(self._part(self._completion_pattern, completion.text) == expected)

    def _part(self, pattern: Any, text: str) -> str | None:
        if pattern is not None:
            last = within(self.time_limit, lambda timeout: _last_match(pattern, text, timeout))
            if last is None:
                return None
            text = (last[1] if pattern.groups else last[0]) or ""  # None: an optional group that took no part
        text = text.strip() if self.strip else text
        return text.casefold() if self.ignore_case else text


def _last_match(pattern: Any, text: str, timeout: float) -> Any:
    last = None
    for last in pattern.finditer(text, timeout=timeout):  # noqa: B007 - the last one is wanted
        pass
    return last
