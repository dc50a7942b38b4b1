"""The flat token axis on which a training batch is computed.

Each *segment*, a prompt or a completion, is a contiguous piece of the axis and attends causally to itself; a completion
attends to its prompt besides.  Prompts come first, then the completions prompt by prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from attrs import frozen
from torch import Tensor


@frozen
class Segment:
    """A prompt (`prompt_length` 0) or a completion with the prompt it continues."""

    start: int
    length: int
    prompt_start: int = 0
    prompt_length: int = 0


@frozen
class Run:
    """`count` adjacent segments of equal length, which one call of a batched kernel can serve without copying."""

    start: int
    count: int
    length: int

    @property
    def tokens(self) -> slice:
        """The run's piece of the flat axis."""
        return slice(self.start, self.start + self.count * self.length)

    def split(self, flat_NHD: Tensor) -> Tensor:
        """A view (count, H, length, D) of the run's tokens."""
        return flat_NHD[self.tokens].view(self.count, self.length, *flat_NHD.shape[1:]).transpose(1, 2)


@frozen
class Prefix:
    """A prompt and the completions that see it: together one block of queries against one block of keys."""

    prompt: slice
    completions: slice


def lay_out(prompt_lengths: Sequence[int], completion_lengths: Sequence[Sequence[int]]) -> list[Segment]:
    """Segments of each prompt and of its completions; lengths are positive."""
    segments, starts, end = [], [], 0
    for length in prompt_lengths:
        segments.append(Segment(end, length))
        starts.append(end)
        end += length
    for prompt_start, prompt_length, lengths in zip(starts, prompt_lengths, completion_lengths, strict=True):
        for length in lengths:
            segments.append(Segment(end, length, prompt_start, prompt_length))
            end += length
    return segments


def runs(segments: Sequence[Segment]) -> Iterator[Run]:
    """Neighbours of equal length put together."""
    for length, alike in groupby(segments, key=lambda segment: segment.length):
        members = list(alike)
        yield Run(members[0].start, len(members), length)


def prefixes(segments: Sequence[Segment]) -> Iterator[Prefix]:
    """One for each prompt that has completions."""
    completions = (segment for segment in segments if segment.prompt_length)
    for start, group in groupby(completions, key=lambda segment: segment.prompt_start):
        members = list(group)
        first, last = members[0], members[-1]
        yield Prefix(slice(start, start + first.prompt_length), slice(first.start, last.start + last.length))
