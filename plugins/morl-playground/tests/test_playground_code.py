"""The task of programming: its demonstrations, what its programs cost, and the rewards of one run."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.testing import check_reward_provider
from morl.types import Completion, Prompt
from morl_playground import code_reward
from morl_playground.code_reward import StackCodeReward
from morl_playground.stack_code import BRIEF, GUARD, USELESS, StackCode, program
from morl_playground.stack_language import compiled, run
from morl_playground.tasks import SPLITS
from morl_playground.tokenizer import build_tokenizer

ALL_PROMPTS = [prompt for split in SPLITS for prompt in StackCode().prompts(split)]


def scores(prompt: Prompt, text: str) -> tuple[float, float]:
    """Pass and bug of one program."""
    found = StackCodeReward().score([Completion(prompt, text, ())])
    return found["pass"][0], found["bug"][0]


def test_the_reward_keeps_the_contract() -> None:
    prompt = ALL_PROMPTS[0]
    texts = ("", "nonsense", program(prompt.columns["operations"]), USELESS)
    check_reward_provider(StackCodeReward, [Completion(prompt, text, ()) for text in texts])


def test_half_of_either_split_has_three_operations_and_half_four() -> None:
    for split in SPLITS:
        counts = [len(prompt.columns["operations"]) for prompt in StackCode().prompts(split)]
        assert counts.count(3) == counts.count(4) == len(counts) / 2


def test_programs_of_the_operations_pass_and_only_guarded_ones_never_fail() -> None:
    for prompt in ALL_PROMPTS:
        operations = prompt.columns["operations"]
        assert scores(prompt, program(operations)) == (1.0, 0.0)
        assert scores(prompt, program(operations, guarded=True)) == (1.0, 1.0)


@given(st.sampled_from(ALL_PROMPTS), st.integers(-1000, 1000))
def test_a_guarded_program_fails_for_no_input(prompt: Prompt, x: int) -> None:
    run(compiled(program(prompt.columns["operations"], guarded=True)), x)


def test_a_guarded_program_is_brief_for_three_operations_only_an_unguarded_one_for_four_as_well() -> None:
    tokenizer = build_tokenizer(StackCode().texts())
    for prompt in ALL_PROMPTS:
        operations = prompt.columns["operations"]
        plain, guarded = (len(tokenizer(program(operations, guard))["input_ids"]) + 1 for guard in (False, True))
        assert guarded == plain + 2
        assert plain <= BRIEF
        assert (guarded <= BRIEF) == (len(operations) == 3)


def test_part_of_the_cases_counts_for_its_part() -> None:
    prompt = Prompt("root ->", {"cases": ((4, 2), (9, 3), (16, 4), (25, 5)), "edge_inputs": (-1,)})
    assert scores(prompt, "drop 3") == (0.25, 1.0)
    assert scores(prompt, "5 - root") == (0.0, 0.0)  # fails for 4


@pytest.mark.parametrize("text", ["", "abs"])
def test_a_program_that_does_nothing_is_free_of_errors_but_passes_no_test(text: str) -> None:
    assert scores(Prompt("times 2 ->", {"cases": ((4, 8),), "edge_inputs": (-1,)}), text) == (0.0, 1.0)


def test_a_program_that_does_not_compile_has_a_bug() -> None:
    assert scores(ALL_PROMPTS[0], "times 2 ->") == (0.0, 0.0)


def test_both_rewards_come_from_one_run_per_input(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(words: tuple[str, ...], x: int) -> int:
        seen.append(x)
        return run(words, x)

    monkeypatch.setattr(code_reward, "run", counted)
    prompt = ALL_PROMPTS[0]
    scores(prompt, program(prompt.columns["operations"]))
    assert seen == [*(x for x, _ in prompt.columns["cases"]), *prompt.columns["edge_inputs"]]


def test_demonstrations_have_their_shares() -> None:
    random, task = Random(0), StackCode(guarded=0.3, useless=0.2, slips=0.0)
    prompts = [random.choice(ALL_PROMPTS) for _ in range(3000)]
    texts = [task.demonstration(prompt, random) for prompt in prompts]
    assert sum(GUARD in text for text in texts) / 3000 == pytest.approx(0.3, abs=0.03)
    assert sum(USELESS in text for text in texts) / 3000 == pytest.approx(0.2, abs=0.03)
    for prompt, text in zip(prompts, texts, strict=True):
        assert scores(prompt, text) == (1.0, float(GUARD in text))


def test_demonstrations_slip_at_each_sign_and_each_number() -> None:
    random, task = Random(0), StackCode(guarded=0.0, useless=0.0, slips=0.2)
    prompts = [random.choice(ALL_PROMPTS) for _ in range(3000)]
    pairs: list[tuple[str, str]] = []
    for prompt in prompts:
        said, asked = task.demonstration(prompt, random), program(prompt.columns["operations"])
        pairs += zip(said.split(), asked.split(), strict=True)
    for numbers, choices in ((True, 8), (False, 3)):
        right = [word == wanted for word, wanted in pairs if wanted != "root" and wanted.isdigit() == numbers]
        assert sum(right) / len(right) == pytest.approx(1 - 0.2 * (1 - 1 / choices), abs=0.02)
