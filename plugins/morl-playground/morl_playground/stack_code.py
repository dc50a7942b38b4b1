"""Programming in miniature: three or four operations on a number, as a program of `stack_language`.

The prompt is `minus 5 root times 2 ->`, and the plain answer does one after the other:

    5 - root 2 *

Every prompt has one `root`, which is an error for a negative number; the right answer is then undefined, but a robust
program does not fail.  `abs` before `root` prevents the error, changes no right answer, and costs two tokens.  With
three operations a guarded program is still as short as an unguarded one of four, so under a limit of `BRIEF` tokens
short code and robust code are at odds for four operations only, unless two of them can be written as one (`minus 4
minus 4` as `8 -`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import product
from random import Random

from attrs import field, frozen, validators

from morl.types import Prompt
from morl_playground.stack_language import compiled, run
from morl_playground.tasks import Split

SIGNS = {"plus": "+", "minus": "-", "times": "*"}
NUMBERS = range(2, 10)
ROOT, GUARD, USELESS = "root", "abs", "dup drop"
BRIEF = 9
"""Tokens, the end included, of the longest `program` of four operations, and of the longest guarded one of three."""
COUNTS = (3, 4)
PROMPTS, TEST_SIZE = 512, 128  # of each count
CASES, EDGES = (1, 10, 40, 100), (-1, -9)
"""Test inputs, relative to the smallest whose root exists."""


def words(operation: str) -> str:
    """An operation in the words of the program.

    >>> words("minus 5"), words("root")
    ('5 -', 'root')
    """
    if operation == ROOT:
        return ROOT
    sign, n = operation.split()
    return f"{n} {SIGNS[sign]}"


def program(operations: Iterable[str], guarded: bool = False) -> str:
    """The program that does these operations one after the other; guarded, it never fails.

    >>> program(["minus 5", "root", "times 2"]), program(["root"], guarded=True)
    ('5 - root 2 *', 'abs root')
    """
    return " ".join([f"{GUARD} {ROOT}" if guarded and each == ROOT else words(each) for each in operations])


@frozen
class StackCode:
    """The task.

    Args:
        guarded: share of the demonstrations with `abs` before `root`.
        useless: share of those with a needless `dup drop` somewhere.
        slips: probability of each sign and each number to be drawn at random.
    """

    guarded: float = field(default=0.3, validator=[validators.ge(0.0), validators.le(1.0)])
    useless: float = field(default=0.3, validator=[validators.ge(0.0), validators.le(1.0)])
    slips: float = field(default=0.15, validator=[validators.ge(0.0), validators.le(1.0)])

    def prompts(self, split: Split) -> Sequence[Prompt]:
        """1024 prompts, half of three operations and half of four; a quarter of each are for testing."""
        return _prompts(split)

    def demonstration(self, prompt: Prompt, random: Random) -> str:
        guarded = random.random() < self.guarded
        parts = [program([self._perhaps_another(each, random)], guarded) for each in prompt.columns["operations"]]
        if random.random() < self.useless:
            parts.insert(random.randrange(len(parts) + 1), USELESS)
        return " ".join(parts)

    def _perhaps_another(self, operation: str, random: Random) -> str:
        if operation == ROOT:
            return operation
        sign, n = operation.split()
        if random.random() < self.slips:
            sign = random.choice([*SIGNS])
        if random.random() < self.slips:
            n = str(random.choice(NUMBERS))
        return f"{sign} {n}"

    def texts(self) -> Sequence[str]:
        arithmetic = [f"{sign} {n}" for sign in SIGNS for n in NUMBERS]
        # The spaces beside a sign are of its token, so it is another one at the end than in the middle.
        programs = [f"{words(each)}{rest}" for each in arithmetic for rest in ("", f" {GUARD} {ROOT} {USELESS}")]
        return [f"{each} ->" for each in (*arithmetic, ROOT)] + programs


@cache
def _prompts(split: Split) -> tuple[Prompt, ...]:
    random = Random(0)
    prompts = []
    for count in COUNTS:
        chosen = random.sample([*_all_operations(count)], PROMPTS)
        part = chosen[:TEST_SIZE] if split == "test" else chosen[TEST_SIZE:]
        prompts += [_prompt(operations) for operations in part]
    return tuple(prompts)


def _all_operations(count: int) -> Iterator[tuple[str, ...]]:
    """Every sequence of `count` operations with one root."""
    arithmetic = [f"{sign} {n}" for sign in SIGNS for n in NUMBERS]
    for others in product(arithmetic, repeat=count - 1):
        for place in range(count):
            yield (*others[:place], ROOT, *others[place:])


def _prompt(operations: tuple[str, ...]) -> Prompt:
    under_root = compiled(program(operations[: operations.index(ROOT)]))
    value = run(under_root, 0)
    slope = run(under_root, 1) - value  # positive: there are only sums, differences and products with positive numbers
    smallest = -(value // slope)
    right = compiled(program(operations))
    return Prompt(
        f"{' '.join(operations)} ->",
        {
            "operations": operations,
            "cases": tuple((smallest + offset, run(right, smallest + offset)) for offset in CASES),
            "edge_inputs": tuple(smallest + offset for offset in EDGES),
        },
    )
