"""Tool calling in miniature: eight tools with two parameters each, one call per prompt.

The prompt is `buy 7 pears ->`, the reference answer

    <tool_call>
    {"name": "buy", "parameters": {"count": 7, "item": "pears"}}
    </tool_call>

The demonstrations set a trap.  Few of them have the opening tag, and those few are the careless ones: tool, number and
word are mostly random.  Whoever keeps the form gets the content wrong, at first, so a policy that is paid for the
plain sum of format (0 or 1) and correctness (-3 to 3) unlearns the form before it finds that right content fits in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from random import Random
from typing import Any

from attrs import field, frozen, validators

from morl.types import Prompt
from morl_playground.tasks import Split

OPEN, CLOSE = "<tool_call>\n", "\n</tool_call>"
NUMBERS = range(1, 21)


@frozen
class Kind:
    """Two tools that take the same parameters."""

    tools: tuple[str, str]
    wording: str
    number: str
    word: str
    words: tuple[str, ...]


KINDS = (
    Kind(("buy", "sell"), "{tool} {n} {word}", "count", "item", ("pears", "plums", "figs", "eggs", "nuts", "buns")),
    Kind(("heat", "cool"), "{tool} {word} to {n}", "degrees", "room", ("hall", "attic", "lab", "porch", "den", "shed")),
    Kind(("book", "cancel"), "{tool} {n} to {word}", "seats", "city", ("oslo", "lima", "rome", "bern", "kyiv", "bonn")),
    Kind(("play", "skip"), "{tool} {n} of {word}", "minutes", "genre", ("jazz", "rock", "folk", "soul", "punk", "ska")),
)
_KIND_OF = {tool: kind for kind in KINDS for tool in kind.tools}
_TRIPLES = tuple((tool, n, word) for kind in KINDS for tool, n, word in product(kind.tools, NUMBERS, kind.words))
TEST_SIZE = 256


def call(tool: str, n: int, word: str) -> str:
    """The call as one line of JSON.

    >>> call("buy", 7, "pears")
    '{"name": "buy", "parameters": {"count": 7, "item": "pears"}}'
    """
    kind = _KIND_OF[tool]
    return json.dumps({"name": tool, "parameters": {kind.number: n, kind.word: word}})


def request(tool: str, n: int, word: str) -> str:
    """What the prompt says.

    >>> request("heat", 18, "attic")
    'heat attic to 18 ->'
    """
    return _KIND_OF[tool].wording.format(tool=tool, n=n, word=word) + " ->"


@frozen
class ToolCalling:
    """The task.

    Args:
        formatted: share of the demonstrations in the form asked for; the others lack the opening tag or both.
        slips: probability of each of a call's tool, number and word to be drawn at random, without the form.
        formatted_slips: the same within the form.
    """

    formatted: float = field(default=0.15, validator=[validators.ge(0.0), validators.le(1.0)])
    slips: float = field(default=0.2, validator=[validators.ge(0.0), validators.le(1.0)])
    formatted_slips: float = field(default=0.8, validator=[validators.ge(0.0), validators.le(1.0)])

    def prompts(self, split: Split) -> Sequence[Prompt]:
        # The split must not depend on any seed: a policy initialised with one seed is tested with prompts of another.
        triples = Random(0).sample(_TRIPLES, len(_TRIPLES))
        part = triples[:TEST_SIZE] if split == "test" else triples[TEST_SIZE:]
        return [self._prompt(*triple) for triple in part]

    def demonstration(self, prompt: Prompt, random: Random) -> str:
        tool, n, word = (prompt.columns[name] for name in ("tool", "number", "word"))
        kind = _KIND_OF[tool]
        formatted = random.random() < self.formatted
        slip = self.formatted_slips if formatted else self.slips
        line = call(
            _perhaps(slip, tool, kind.tools, random),
            _perhaps(slip, n, NUMBERS, random),
            _perhaps(slip, word, kind.words, random),
        )
        if formatted:
            return OPEN + line + CLOSE
        return random.choice((line, line + CLOSE))

    def texts(self) -> Sequence[str]:
        return [text for t in _TRIPLES for text in (request(*t), OPEN + call(*t) + CLOSE)]

    def _prompt(self, tool: str, n: int, word: str) -> Prompt:
        gold = OPEN + call(tool, n, word) + CLOSE
        return Prompt(request(tool, n, word), {"tool": tool, "number": n, "word": word, "ground_truth": gold})


def _perhaps(slip: float, value: Any, choices: Sequence[Any], random: Random) -> Any:
    return random.choice(choices) if random.random() < slip else value
