"""Mathematics in miniature: a map of the numbers 0 to 31, x -> (13x + 7) mod 32, applied several times over.

The prompt is `3 times from 5 ->`, and the full answer counts up to the last iterate:

    8 15 = 10

The iterates before `=` cost tokens and may be left out.  A small policy can leave out few of them, so a reward for the
right answer and one for brevity are at odds, and brevity is the easier one.

The demonstrations show three modes: `full` writes every iterate, `stride` every second one, `direct` none.  Each number
of a demonstration is drawn at random with the noise of its mode, and the next is reckoned from what was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from attrs import field, frozen, validators

from morl.errors import ConfigError
from morl.types import Prompt
from morl_playground.tasks import Split

NUMBERS = range(32)
COUNTS = range(2, 6)


def iterate(x: int, count: int) -> int:
    """The map applied `count` times.

    >>> [iterate(5, count) for count in range(4)]
    [5, 8, 15, 10]
    """
    for _ in range(count):
        x = (13 * x + 7) % 32
    return x


def request(x: int, count: int) -> str:
    """What the prompt says.

    >>> request(5, 3)
    '3 times from 5 ->'
    """
    return f"{count} times from {x} ->"


def written(numbers: Sequence[int]) -> str:
    """What a completion says: the scratch-pad, if any, and the answer.

    >>> written([8, 15, 10]), written([10])
    ('8 15 = 10', '= 10')
    """
    *scratch, answer = numbers
    return " ".join([*map(str, scratch), "=", str(answer)])


_share = validators.ge(0.0)
_probability = [validators.ge(0.0), validators.le(1.0)]


@frozen
class IteratedMap:
    """The task.

    Args:
        full: share of the demonstrations that write every iterate; shares are relative to their sum.
        stride: share of those that write every second one.
        direct: share of those that write the answer only.
        full_noise: probability of each number, the answer included, to be drawn at random, in the mode `full`.
        stride_noise: the same in the mode `stride`.
        direct_noise: the same in the mode `direct`.

    Raises:
        ConfigError: no share above 0.
    """

    full: float = field(default=0.5, validator=_share)
    stride: float = field(default=0.15, validator=_share)
    direct: float = field(default=0.35, validator=_share)
    full_noise: float = field(default=0.35, validator=_probability)
    stride_noise: float = field(default=0.5, validator=_probability)
    direct_noise: float = field(default=0.95, validator=_probability)

    def __attrs_post_init__(self) -> None:
        if not self.full + self.stride + self.direct > 0:
            raise ConfigError("full, stride and direct must not all be 0; one of them has to be demonstrated")

    def prompts(self, split: Split) -> Sequence[Prompt]:
        """Of the 128 prompts, 32 are for testing: every number once, and every count as often as any other."""
        held_out = dict(zip(Random(0).sample(NUMBERS, len(NUMBERS)), [*COUNTS] * (32 // len(COUNTS)), strict=True))
        return [
            Prompt(request(x, count), {"start": x, "count": count, "answer": iterate(x, count)})
            for x in NUMBERS
            for count in COUNTS
            if (held_out[x] == count) == (split == "test")
        ]

    def demonstration(self, prompt: Prompt, random: Random) -> str:
        x, count = prompt.columns["start"], prompt.columns["count"]
        modes = ((1, self.full_noise), (2, self.stride_noise), (count, self.direct_noise))
        (stride, noise), *_ = random.choices(modes, weights=(self.full, self.stride, self.direct))
        numbers = []
        for done in range(0, count, stride):
            x = iterate(x, min(stride, count - done))
            if random.random() < noise:
                x = random.choice(NUMBERS)
            numbers.append(x)
        return written(numbers)

    def texts(self) -> Sequence[str]:
        return [text for x in NUMBERS for count in COUNTS for text in (request(x, count), written([x, x, x, x]))] + [
            written([x]) for x in NUMBERS
        ]
