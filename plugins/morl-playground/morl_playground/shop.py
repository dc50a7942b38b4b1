"""A world of tools in miniature: a shop that tells its prices one at a time, and an adding machine.

The prompt is `pears and figs`.  The policy asks for both prices, has them added, and says the total:

    <tool_call>
    {"name": "price", "arguments": {"item": "pears"}}
    </tool_call>

Prices differ from prompt to prompt, so they have to be looked up.  The sum of two prices can be had from the tool
`add`, which costs a call, or be known by heart, which a policy has to learn: the right total and few calls are at odds.

The demonstrations are those of a customer in a hurry.  Calls are malformed, name a tool or an argument that there is
not, or ask for a price twice or for another thing's; what failed is tried again.  Totals are often guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from random import Random
from typing import Any, ClassVar

from attrs import field, frozen, validators

from morl.types import Message, Prompt
from morl_playground.tasks import Split

ITEMS = ("pears", "plums", "figs", "eggs", "nuts", "buns", "leeks", "limes", "kale", "corn")
PRICES = range(1, 6)
TEST_SIZE = 64
TRAIN_COPIES = 8
"""How often each pair of items is asked for, with other prices each time."""


def _function(name: str, description: str, **parameters: str) -> Mapping[str, Any]:
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": [*parameters]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS = (
    _function("price", "The price of an item.", item="string"),
    _function("add", "The sum of two numbers.", a="integer", b="integer"),
)


def answered(name: str, arguments: Mapping[str, Any], prices: Mapping[str, int]) -> str:
    """What a tool says to a call; a text that begins with `Error` where it cannot do what it is asked.

    >>> answered("price", {"item": "figs"}, {"figs": 3}), answered("add", {"a": 3, "b": 4}, {})
    ('3', '7')
    >>> answered("price", {"item": "tea"}, {"figs": 3}), answered("price", {"thing": "figs"}, {"figs": 3})
    ('Error: no such item', 'Error: wrong arguments')
    """
    match name, arguments:
        case "price", {"item": str(item), **others} if not others:
            return str(prices[item]) if item in prices else "Error: no such item"
        case "add", {"a": int(a), "b": int(b), **others} if not others:
            return str(a + b)
        case "price" | "add", _:
            return "Error: wrong arguments"
    return "Error: no such tool"


def written(call: Mapping[str, Any]) -> str:
    """A call as the policy writes it.

    >>> print(written({"name": "price", "arguments": {"item": "figs"}}))
    <tool_call>
    {"name": "price", "arguments": {"item": "figs"}}
    </tool_call>
    """
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


def total(number: int) -> str:
    """What the policy says at last."""
    return f"total {number}"


_probability = [validators.ge(0.0), validators.le(1.0)]


@frozen
class Shop:
    """The task.

    Args:
        slips: probability of each call of a demonstration to be wrong.
        repeats: probability of a demonstration to ask for a price twice.
        adds: probability of a demonstration to use the tool `add`.
        guesses: probability of a total that was not added up by the tool to be drawn at random.
    """

    slips: float = field(default=0.25, validator=_probability)
    repeats: float = field(default=0.5, validator=_probability)
    adds: float = field(default=0.5, validator=_probability)
    guesses: float = field(default=0.3, validator=_probability)

    tools: ClassVar[Sequence[Mapping[str, Any]]] = TOOLS

    def prompts(self, split: Split) -> Sequence[Prompt]:
        """Pairs of items, each several times with prices of its own; those for testing are among no others."""
        random = Random(0)
        pairs = [*permutations(ITEMS, 2)] * TRAIN_COPIES
        random.shuffle(pairs)
        prompts = [_prompt(pair, random) for pair in pairs]
        return prompts[:TEST_SIZE] if split == "test" else prompts[TEST_SIZE:]

    def conversation(self, prompt: Prompt, random: Random) -> Sequence[Message]:
        """A demonstration, from the prompt's message to the total."""
        prices: Mapping[str, int] = prompt.columns["prices"]
        wanted = list(prompt.columns["items"])
        messages: list[Message] = [*prompt.messages]
        known: dict[str, int] = {}
        asked = [*wanted, random.choice(wanted)] if random.random() < self.repeats else wanted
        for attempt in range(3):
            calls = [
                self._call("price", {"item": item}, random, slips=self.slips if attempt < 2 else 0.0) for item in asked
            ]
            messages += _turn(calls, prices)
            known |= {call.item: prices[call.item] for call in calls if call.item in prices}
            asked = [item for item in wanted if item not in known]
            if not asked:
                break
        a, b = (known.get(item, random.choice(PRICES)) for item in wanted)
        answer = a + b
        if random.random() < self.adds:
            messages += _turn([self._call("add", {"a": a, "b": b}, random, slips=0.0)], prices)
        elif random.random() < self.guesses:
            answer = random.choice(PRICES) + random.choice(PRICES)
        return [*messages, {"role": "assistant", "content": total(answer)}]

    def texts(self) -> Sequence[str]:
        requests = [_request(pair) for pair in permutations(ITEMS, 2)]
        calls = [{"name": "price", "arguments": {"item": item}} for item in ITEMS]
        calls += [{"name": "add", "arguments": {"a": a, "b": b}} for a in PRICES for b in PRICES]
        slips = [{"name": name, "arguments": {key: ITEMS[0]}} for name, key in (("cost", "item"), ("price", "thing"))]
        unclosed = [written(call).replace("}}", "}") for call in calls]
        totals = [total(number) for number in range(2 * max(PRICES) + 1)]
        return [
            *requests,
            *map(written, [*calls, *slips]),
            *unclosed,
            *totals,
            "Error: no such tool",
            "Error: no such item",
            "Error: wrong arguments",
            "tools: price add\n",
        ]

    def _call(self, name: str, arguments: Mapping[str, Any], random: Random, slips: float) -> _Demonstrated:
        text = written({"name": name, "arguments": arguments})
        if random.random() >= slips:
            return _Demonstrated(text, name, arguments)
        match random.randrange(4):
            case 0:
                return _Demonstrated(text.replace("}}", "}"))
            case 1:
                return _Demonstrated(text.replace('"price"', '"cost"'))
            case 2:
                return _Demonstrated(text.replace('"item"', '"thing"'))
            case _:
                return self._call(name, {"item": random.choice(ITEMS)}, random, slips=0.0)


@frozen
class _Demonstrated:
    """A call of a demonstration; without a name it cannot be made."""

    text: str
    name: str = ""
    arguments: Mapping[str, Any] = field(factory=dict)

    @property
    def item(self) -> str:
        return str(self.arguments.get("item", ""))


def _turn(calls: Sequence[_Demonstrated], prices: Mapping[str, int]) -> Iterator[Message]:
    """A reply that makes these calls, and what it is told."""
    yield {"role": "assistant", "content": "".join(call.text for call in calls)}
    for call in calls:
        said = answered(call.name, call.arguments, prices) if call.name else "Error: no such tool"
        yield {"role": "tool", "content": said}


def _prompt(pair: tuple[str, str], random: Random) -> Prompt:
    prices = {item: random.choice(PRICES) for item in ITEMS}
    columns = {"items": list(pair), "prices": prices, "total": prices[pair[0]] + prices[pair[1]]}
    return Prompt([{"role": "user", "content": _request(pair)}], columns)


def _request(pair: tuple[str, str]) -> str:
    return f"{pair[0]} and {pair[1]}"
