"""A reward that compares the completions of a prompt with each other."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import frozen

from morl.types import Completion


@frozen
class Unlike:
    """Mean distance of a completion's words from those of the other completions of its prompt, 0 to 1.

    The distance of two sets of words is 1 - |both| / |either| (Jaccard), of two empty ones 0.  A completion that is
    alone with its prompt has nothing to be compared with, so the reward does not apply to it.

    morl gives all completions of a prompt in one call, whatever the number of ranks and the size of micro-batches, and
    completions of one prompt share the object `completion.prompt`.
    """

    def score(self, completions: Sequence[Completion]) -> list[float | None]:
        groups: dict[int, list[int]] = {}
        for row, completion in enumerate(completions):
            groups.setdefault(id(completion.prompt), []).append(row)
        words = [set(re.findall(r"\w+", completion.text.casefold())) for completion in completions]
        scores: list[float | None] = [None] * len(completions)
        for rows in groups.values():
            for row in rows if len(rows) > 1 else ():
                distances = [_distance(words[row], words[other]) for other in rows if other != row]
                scores[row] = sum(distances) / len(distances)
        return scores


def _distance(one: set[str], other: set[str]) -> float:
    either = one | other
    return 1 - len(one & other) / len(either) if either else 0.0
