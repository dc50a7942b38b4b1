"""Binary rewards of a tool call, of equal range and unequal difficulty, that do not conflict; and one that is noise."""

from __future__ import annotations

import hashlib
import re
from typing import Any

_VALUE = r'"{name}": "?([^",}}]*)'


def tool(prompts: list[str], completions: list[str], *, ground_truth: list[str], **columns: Any) -> list[float]:
    """Whether the right tool is called."""
    return _share(completions, ground_truth, "name")


def number(prompts: list[str], completions: list[str], *, ground_truth: list[str], **columns: Any) -> list[float]:
    """Whether a number of the call is the right one."""
    return [float(_number(one) == _number(gold)) for one, gold in zip(completions, ground_truth, strict=True)]


def word(prompts: list[str], completions: list[str], *, ground_truth: list[str], **columns: Any) -> list[float]:
    """Whether the call has the right word among its parameters."""
    return [float(_word(one) == _word(gold)) for one, gold in zip(completions, ground_truth, strict=True)]


def opened(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """Whether the completion begins with the opening tag: the easiest."""
    return [float(completion.lstrip().startswith("<tool_call>")) for completion in completions]


def whole(prompts: list[str], completions: list[str], *, ground_truth: list[str], **columns: Any) -> list[float]:
    """Whether the completion is the reference answer to the letter: the hardest."""
    return [float(one.strip() == gold.strip()) for one, gold in zip(completions, ground_truth, strict=True)]


def coin(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """0 or 1 without meaning: one bit of a hash of prompt and completion, so that a run can be repeated."""
    return [float(_hash(prompt, completion) % 2) for prompt, completion in zip(prompts, completions, strict=True)]


def judge(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """A judge that knows nothing and never says quite the same: .5 +- .001."""
    return [
        0.5 + (_hash(prompt, completion) % 2001 - 1000) * 1e-6
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def _share(completions: list[str], ground_truth: list[str], name: str) -> list[float]:
    pattern = re.compile(_VALUE.format(name=name))
    found = [(pattern.search(one), pattern.search(gold)) for one, gold in zip(completions, ground_truth, strict=True)]
    return [float(one is not None and gold is not None and one[1] == gold[1]) for one, gold in found]


def _number(text: str) -> str | None:
    found = re.search(r": (\d+)", text)
    return found[1] if found else None


def _word(text: str) -> str | None:
    found = re.findall(r': "([^"]*)"', text)
    return found[-1] if len(found) > 1 else None


def _hash(*texts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(texts).encode()).digest()[:8], "big")
