"""The reward as morl uses it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from morl.errors import ConfigError
from morl.hookspecs import PromptSource, RewardProvider
from morl.plugins import Registry
from morl.reward.entry import RewardEntry
from morl.reward.scorer import RewardScorer
from morl.testing import check_reward_provider
from morl.types import Completion, Prompt
from morl_math import plugin
from morl_math.process import UnreadableReference
from morl_math.rewards import MathCorrectness


def completion(text: str, answer: Any) -> Completion:
    return Completion(Prompt("?", {"answer": answer}), text, (1,))


@pytest.fixture(scope="module")
def reward() -> MathCorrectness:
    """One for all tests, so that its processes start once."""
    return MathCorrectness(workers=1, time_limit=20.0)


def test_the_provider_keeps_the_contract(reward: MathCorrectness) -> None:
    texts = (r"So \boxed{4}.", r"So \boxed{x+x}.", "", "#### 3")
    batch = [completion(text, answer) for text in texts for answer in ("4", "2x", None)]
    check_reward_provider(lambda: reward, batch)


def boxed(reward: MathCorrectness, answer: str, reference: Any) -> float | Exception | None:
    return reward.score([completion(rf"So \boxed{{{answer}}}.", reference)])[0]


def test_the_installed_plugin_offers_its_parts() -> None:
    registry = Registry()
    assert "math-correctness" in {part.name for part in registry.names("reward provider")}
    assert {"gsm8k", "math-problems"} <= {part.name for part in registry.names("prompt source")}


def test_every_path_of_the_plugin_can_be_imported() -> None:
    registry = Registry([plugin], discover=False)
    assert isinstance(registry.find("reward provider", "math-correctness").load()(), RewardProvider)
    for name in plugin.morl_register_prompt_sources():
        assert isinstance(registry.find("prompt source", name).load()(path="rows.jsonl"), PromptSource)


@pytest.mark.parametrize(
    ("reference", "answer", "score"),
    [
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt 2}{2}", 1),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt 2}{3}", 0),
        (r"x^2+2x+1", r"(x+1)^2", 1),
        ("5", "x = 5", 1),
        ("x = 5", "5", 1),
        ("5", "5x", 0),
        ("1000000", "10^6", 1),
        ("100000000000000000000", "10^{20}+1", 0),
        ("1450000", r"1.45 \times 10^6", 1),
        ("1450000", r"1.450007 \times 10^6", 0),
        (r"\pi", "3.14", 0),
        # tuples, intervals and sets
        ("(1, 2)", r"\left(1, 2\right)", 1),
        ("(2, 1)", "(1, 2)", 0),
        ("(1,2,3)", "(3,2,1)", 0),
        ("[1, 2)", "[1,2)", 1),
        ("[1, 2)", "[1,2]", 0),
        (r"(3, \infty)", "x > 3", 1),
        ("x > 3", r"(3, \u221e)".replace(r"\u221e", "\u221e"), 1),
        (r"\{1, 2, 3\}", "3, 2, 1", 1),
        (r"\{1, 2\}", r"\{1, 2, 3\}", 0),
        (r"(-\infty, 1) \cup (2, \infty)", r"(2,\infty) \cup (-\infty,1)", 1),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1\\ 2\end{pmatrix}", 1),
        # several answers where one is asked for
        ("5", "5, 6", 0),
        ("5", "5 or 6", 0),
        ("5", r"$5$ or $6$", 0),
        ("5", r"\pm 5", 0),
        # two numbers side by side are no sum, though math-verify makes one of them
        ("3", "1 2", 0),
        # what cannot be read is wrong
        ("5", r"\frac{5", 0),
        ("5", r"\frac{1}{0}", 0),
        ("5", "", 0),
        (r"\frac{1}{\sqrt{2}}", "", 0),
    ],
)
def test_answers_are_compared_as_mathematics(
    reward: MathCorrectness, reference: str, answer: str, score: float
) -> None:
    assert boxed(reward, answer, reference) == score


def test_only_the_answer_is_compared(reward: MathCorrectness) -> None:
    """Shown the whole text, math-verify takes the right number from the reasoning."""
    texts = ["<think>It is 18, surely.</think> <answer>17</answer>", "18 = 18, so #### 17", r"18 \boxed{17} 18", "18"]
    assert reward.score([completion(text, "18") for text in texts]) == [0.0] * 4


@pytest.mark.parametrize("reference", [r"\frac{1}{0}", "{", "1 2", "(1, 1 2)", r"\frac{1}{"])
@pytest.mark.parametrize("text", [r"\boxed{5}", "no answer"])
def test_a_reference_that_cannot_be_read_is_a_failure(reward: MathCorrectness, reference: str, text: str) -> None:
    good = completion(r"\boxed{x+1}", "1+x")
    error, other = reward.score([completion(text, reference), good])
    assert isinstance(error, UnreadableReference)
    assert f"cannot read the reference answer {reference!r}" in str(error)
    assert other == 1.0


@pytest.mark.parametrize(
    ("reference", "kind", "message"),
    [
        ("  ", UnreadableReference, "column 'answer' has no answer"),
        (True, TypeError, "column 'answer' must hold text or a number; got bool"),
        (["5"], TypeError, "column 'answer' must hold text or a number; got list"),
    ],
)
def test_a_reference_of_another_kind_is_a_failure(
    reward: MathCorrectness, reference: Any, kind: type[Exception], message: str
) -> None:
    score = boxed(reward, "5", reference)
    assert isinstance(score, kind)
    assert message in str(score)


def test_a_reference_that_is_no_number_fails_in_number_mode() -> None:
    (score,) = MathCorrectness(mode="number").score([completion("#### 5", "many")])
    assert "the reference answer must be a number; got 'many'" in str(score)


def test_references_may_be_numbers_and_may_be_absent(reward: MathCorrectness) -> None:
    assert boxed(reward, "5", 5) == boxed(reward, "0.5", 0.5) == 1.0
    assert boxed(reward, "5", None) is None


def test_options() -> None:
    other = Completion(Prompt("?", {"gold": "#### 5"}), "<answer>5</answer> #### 6", (1,))
    reward = MathCorrectness(mode="answer-tag", reference="gold")
    assert reward.required_columns == ("gold",)
    assert reward.score([other]) == [1.0]
    assert MathCorrectness(mode="number", reference="gold").score([other]) == [0.0]
    assert MathCorrectness(max_characters=4).score([completion("#### 5.00", "5"), completion("#### 5.000", "5")]) == [
        1,
        0,
    ]
    thought = completion(r"\boxed{5}", "5")
    assert MathCorrectness(opened_by_prompt=True).score([thought]) == [0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "box"}, "mode must be one of auto, number, boxed, answer-tag; got 'box'; did you mean 'boxed'?"),
        ({"max_characters": 0}, "max_characters must be at least 1; got 0"),
        ({"time_limit": 0}, "time_limit must be at least 0.1; got 0"),
        ({"batch_limit": 0}, "batch_limit must be at least 1; got 0"),
        ({"memory_limit": 64}, "memory_limit must be at least 256; got 64"),
        ({"workers": 0}, "workers must be at least 1; got 0"),
        ({"on_late": "wrongly"}, "on_late must be one of wrong, fail; got 'wrongly'; did you mean 'wrong'?"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MathCorrectness(**options)
    assert message in str(caught.value)


def test_the_provider_can_be_pickled(reward: MathCorrectness) -> None:
    """Trainers that spawn their ranks do that; the copy starts processes of its own."""
    boxed(reward, "x = 5", "5")
    assert boxed(pickle.loads(pickle.dumps(reward)), "x = 5", "5") == 1.0


def test_failures_reach_morl_as_failures() -> None:
    scorer = RewardScorer({"correct": RewardEntry(MathCorrectness(mode="number"))})
    scores = scorer.score([completion("#### 5", "5"), completion("#### 6", "5"), completion("#### 6", "many")])
    assert scores.values_BK[:2, 0].tolist() == [1.0, 0.0]
    assert scores.failed_BK[:, 0].tolist() == [False, False, True]
    scorer.close()


# GSM8K ---------------------------------------------------------------------------------------------------------------

SOLUTIONS = [
    "2 * 9 = <<2*9=18>>18\n#### 18",
    "He loses\n#### -5",
    "300 * 4,500 = 1,350,000\n#### 1,350,000",
    "#### 12 is a step\n#### 13",
]
DATA = Path(__file__).parents[4] / "shared" / "data" / "gsm8k"


def check_gold(solutions: list[str]) -> None:
    """Every gold solution scores 1; with another number it scores 0, though the right one stands in the reasoning."""
    for mode in ("number", "auto"):
        reward = MathCorrectness(mode=mode)  # type: ignore[arg-type]
        golds = [completion(solution, solution) for solution in solutions]
        assert reward.score(golds) == [1.0] * len(golds)
        numbers = [int(solution.rpartition("####")[2].replace(",", "")) for solution in solutions]
        for wrong in (1, -1, 7):
            perturbed = [
                completion(f"{solution}\n#### {number + wrong:,}", solution)
                for solution, number in zip(solutions, numbers, strict=True)
            ]
            assert reward.score(perturbed) == [0.0] * len(golds)
        other_forms = [
            completion(f"#### ${number}.00 apples.", gold) for number, gold in zip(numbers, solutions, strict=True)
        ]
        assert reward.score(other_forms) == [1.0] * len(golds)


def test_gold_solutions_score_1_and_perturbed_ones_0() -> None:
    check_gold(SOLUTIONS)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/gsm8k; the rows above cover the same")
def test_every_gold_solution_of_gsm8k_scores_1_and_perturbed_0() -> None:
    rows = [json.loads(line) for name in ("train", "test") for line in (DATA / f"{name}.jsonl").open(encoding="utf-8")]
    assert len(rows) == 8792
    check_gold([row["answer"] for row in rows])
