"""Pairs of a reference and an answer with their truth, made to be graded wrongly.

`data/pairs.jsonl` was made for this plugin: kinds of answers, hedges, false statements, and what merely looks equal.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from morl.types import Completion, Prompt
from morl_math.rewards import MathCorrectness

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "data" / "pairs.jsonl").open(encoding="utf-8")]
SHARED = Path(__file__).parents[4] / "shared" / "cases" / "math-pairs.jsonl"


@pytest.fixture(scope="module")
def reward() -> MathCorrectness:
    return MathCorrectness(mode="boxed", workers=1, time_limit=5.0, batch_limit=600.0)


def score(reward: MathCorrectness, pairs: list[dict[str, Any]]) -> list[float | Exception | None]:
    return reward.score(
        [Completion(Prompt("?", {"answer": pair["gold"]}), rf"\boxed{{{pair['answer']}}}", (1,)) for pair in pairs]
    )


def test_the_pairs_are_many_of_many_kinds() -> None:
    kinds = Counter(pair["kind"] for pair in PAIRS)
    assert len(PAIRS) >= 250
    assert len(kinds) >= 30
    assert len({(pair["gold"], pair["answer"]) for pair in PAIRS}) == len(PAIRS)
    assert 0.4 < sum(pair["equal"] for pair in PAIRS) / len(PAIRS) < 0.6


@pytest.mark.parametrize("kind", sorted({pair["kind"] for pair in PAIRS}))
def test_every_pair_gets_its_truth(reward: MathCorrectness, kind: str) -> None:
    pairs = [pair for pair in PAIRS if pair["kind"] == kind]
    scores = score(reward, pairs)
    wrong = [
        (pair["gold"], pair["answer"], result)
        for pair, result in zip(pairs, scores, strict=True)
        if result != float(pair["equal"])
    ]
    assert wrong == []


def test_every_reference_equals_itself(reward: MathCorrectness) -> None:
    golds = [{"gold": gold, "answer": gold} for gold in sorted({pair["gold"] for pair in PAIRS})]
    assert [gold["gold"] for gold, result in zip(golds, score(reward, golds), strict=True) if result != 1.0] == []


@pytest.mark.skipif(not SHARED.is_file(), reason="needs ../shared/cases; the pairs above are of the same kinds")
def test_pairs_of_another_author(reward: MathCorrectness) -> None:
    pairs = [json.loads(line) for line in SHARED.open(encoding="utf-8")]
    scores = score(reward, pairs)
    accepted = [
        (pair["gold"], pair["answer"])
        for pair, result in zip(pairs, scores, strict=True)
        if result == 1.0 and not pair["equal"]
    ]
    right = sum(result == float(pair["equal"]) for pair, result in zip(pairs, scores, strict=True))
    assert accepted == []
    assert right >= 0.99 * len(pairs)
