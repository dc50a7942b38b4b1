"""A reward of whole groups, on texts whose distances can be counted by hand."""

from __future__ import annotations

from morl.types import Completion, Prompt
from morl_example.group import Unlike


def test_each_is_compared_with_the_others_of_its_prompt():
    first, second, alone = Prompt("a"), Prompt("a"), Prompt("a")
    completions = [
        *(Completion(first, text, ()) for text in ("red blue", "Blue red", "green")),
        *(Completion(second, text, ()) for text in ("", "")),
        Completion(alone, "red", ()),
    ]
    assert Unlike().score(completions) == [0.5, 0.5, 1.0, 0.0, 0.0, None]
    shuffled = [5, 0, 3, 2, 4, 1]
    assert Unlike().score([completions[row] for row in shuffled]) == [None, 0.5, 0.0, 1.0, 0.0, 0.5]
