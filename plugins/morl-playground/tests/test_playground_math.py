"""The task of mathematics: its split, its demonstrations, and that core rewards grade it."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.errors import ConfigError
from morl.reward import ExactMatchReward, LengthReward
from morl.types import Completion, Prompt
from morl_playground.iterated import COUNTS, NUMBERS, IteratedMap, iterate, request, written
from morl_playground.tokenizer import build_tokenizer

NOISELESS = {"full_noise": 0.0, "stride_noise": 0.0, "direct_noise": 0.0}


def only(mode: str, **options: float) -> IteratedMap:
    shares: dict[str, float] = {"full": 0.0, "stride": 0.0, "direct": 0.0, mode: 1.0}
    return IteratedMap(**(shares | options))


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


@given(x=st.sampled_from(NUMBERS), first=st.integers(0, 40), second=st.integers(0, 40))
def test_iterations_add_up(x: int, first: int, second: int) -> None:
    assert iterate(iterate(x, first), second) == iterate(x, first + second)


def test_the_map_leads_through_all_numbers_before_it_returns() -> None:
    assert {iterate(0, count) for count in range(32)} == set(NUMBERS)
    assert iterate(0, 32) == 0


def test_every_number_and_every_count_is_tested_as_often_as_any_other() -> None:
    test = IteratedMap().prompts("test")
    assert Counter(prompt.columns["start"] for prompt in test) == dict.fromkeys(NUMBERS, 1)
    assert Counter(prompt.columns["count"] for prompt in test) == dict.fromkeys(COUNTS, 8)


@pytest.mark.parametrize(("mode", "scratch"), [("full", [1, 2, 3, 4]), ("stride", [2, 4]), ("direct", [])])
def test_without_noise_every_mode_writes_its_iterates_and_the_answer(mode: str, scratch: list[int]) -> None:
    for start in NUMBERS:
        prompt = Prompt(request(start, 5), {"start": start, "count": 5, "answer": iterate(start, 5)})
        text = only(mode, **NOISELESS).demonstration(prompt, Random(start))
        assert numbers(text) == [iterate(start, count) for count in [*scratch, 5]]


def test_modes_have_their_shares() -> None:
    random, task = Random(0), IteratedMap(full=1.0, stride=0.3, direct=0.7)
    prompts = [prompt for prompt in task.prompts("train") if prompt.columns["count"] == 5]
    lengths = Counter(len(numbers(task.demonstration(random.choice(prompts), random))) for _ in range(4000))
    for length, share in ((5, 0.5), (3, 0.15), (1, 0.35)):
        assert lengths[length] / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("noise", [0.0, 0.35, 1.0])
def test_each_number_is_wrong_with_the_noise_and_the_next_goes_on_from_it(noise: float) -> None:
    random, task = Random(0), only("full", full_noise=noise)
    steps: list[bool] = []
    for prompt in [*task.prompts("train")] * 10:
        path = [prompt.columns["start"], *numbers(task.demonstration(prompt, random))]
        steps += [iterate(one, 1) == other for one, other in pairwise(path)]
    assert sum(steps) / len(steps) == pytest.approx(1 - noise * 31 / 32, abs=0.02)


@pytest.mark.parametrize("mode", ["full", "stride", "direct"])
def test_right_answers_are_graded_as_right_and_others_as_wrong(mode: str) -> None:
    reward = ExactMatchReward("answer", extract=r"= (\d+)$")
    prompts = IteratedMap().prompts("train")
    right = [only(mode, **NOISELESS).demonstration(prompt, Random(0)) for prompt in prompts]
    assert reward.score([Completion(*pair, ()) for pair in zip(prompts, right, strict=True)]) == [1.0] * 96
    wrong = [written([(prompt.columns["answer"] + 1) % 32]) for prompt in prompts]
    assert reward.score([Completion(*pair, ()) for pair in zip(prompts, wrong, strict=True)]) == [0.0] * 96


def test_four_tokens_have_room_for_one_number_before_the_answer() -> None:
    tokenizer = build_tokenizer(IteratedMap().texts())
    texts = [written([31]), written([0, 31]), written([0, 5, 31])]
    ids = [(*tokenizer(text)["input_ids"], tokenizer.eos_token_id) for text in texts]
    completions = [Completion(Prompt(""), text, each) for text, each in zip(texts, ids, strict=True)]
    assert LengthReward(limit=4).score(completions) == [1.0, 1.0, 0.0]


def test_a_task_without_any_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="full, stride and direct must not all be 0"):
        IteratedMap(full=0.0, stride=0.0, direct=0.0)


@pytest.mark.parametrize("option", ["full", "stride_noise"])
def test_a_negative_share_or_noise_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"'{option}' must be >= 0"):
        IteratedMap(**{option: -0.1})
