"""Problems: from seed and row alone, of the difficulty that is asked for, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from morl.errors import ConfigError
from morl.types import Completion, Prompt
from morl_reasoning_gym.process import maker
from morl_reasoning_gym.prompts import COLUMN, ReasoningGym
from morl_reasoning_gym.rewards import ReasoningGymFormat


def questions(**options: Any) -> list[str]:
    return [prompt.content[-1]["content"] for prompt in ReasoningGym("chain_sum", **options).load()]


def test_rows_follow_from_seed_and_number() -> None:
    assert questions(size=20) == questions(size=40)[:20]
    last = ReasoningGym("chain_sum", size=10**9).load()[10**9 - 1]
    assert last.content == ReasoningGym("chain_sum").row(10**9 - 1).content


def test_a_row_is_the_same_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that go through sets: where texts hash otherwise, they make other problems."""
    made = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        maker.cache_clear()
        made.append([ReasoningGym(task).row(0).content for task in ("polynomial_multiplication", "gcd")])
    assert made[0] == made[1]


def test_another_seed_has_other_rows() -> None:
    settings = {"min_digits": 6, "max_digits": 6}  # so many sums that none occurs twice by chance
    seen = [question for seed in range(4) for question in questions(size=50, seed=seed, settings=settings)]
    assert len(set(seen)) == len(seen) == 200


def test_settings_and_levels_make_a_task_harder() -> None:
    operators = [question.count("+") + question.count("-") for question in questions(settings={"min_terms": 6})]
    assert min(operators) >= 5
    low, high = (max(map(len, questions(level=level))) for level in (0, 4))
    assert low < high


def test_a_problem_is_a_chat_or_plain_text() -> None:
    row = ReasoningGym("gcd").row(3)
    assert [message["role"] for message in row.content] == ["system", "user"]
    assert "<answer>" in row.content[0]["content"]
    assert set(row.columns) == {"answer", COLUMN}
    assert "<think>" in ReasoningGym("gcd", think=True).row(3).content[0]["content"]
    assert [message["role"] for message in ReasoningGym("gcd", instruction="").row(3).content] == ["user"]
    question = row.content[1]["content"]
    assert ReasoningGym("gcd", chat=False, instruction="Say it.").row(3).content == f"Say it.\n\n{question}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "chainsum"}, r"no task 'chainsum'; did you mean 'chain_sum'\?; it has: ab, acre"),
        ({"settings": {"max_term": 3}}, r"'chain_sum' has no setting 'max_term'; did you mean 'max_terms'\?"),
        ({"settings": {"seed": 3}}, "seed is an option of the prompt source"),
        (
            {"settings": {"min_terms": 0}},
            r"refuses the settings .*: AssertionError: min_terms must be",
        ),
        ({"task": "acre", "level": 1}, "'acre' has no levels"),
        ({"level": 1, "settings": {"max_terms": 9}}, "the level sets max_terms of the task 'chain_sum'"),
        ({"task": "composite"}, "refuses the settings .*at least one dataset"),
        ({"task": "composite", "settings": {"datasets": [{"nam": "gcd"}]}}, "name, weight and config"),
        ({"think": True, "instruction": "Go."}, "has no effect beside your own"),
    ],
)
def test_what_a_task_does_not_have_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReasoningGym(**{"task": "chain_sum", **options})


@pytest.mark.parametrize(
    ("text", "plain", "think"),
    [
        ("<answer>4</answer>", 1.0, 0.0),
        ("Two and two: <answer>4</answer>.", 1.0, 0.0),
        ("<think>2+2</think>\n<answer>4</answer>", 1.0, 1.0),
        ("<think>2+2</think> so <answer>4</answer>", 1.0, 0.0),
        ("<answer> </answer>", 0.0, 0.0),
        ("<answer>3</answer><answer>4</answer>", 0.0, 0.0),
        ("4", 0.0, 0.0),
    ],
)
def test_format(text: str, plain: float, think: float) -> None:
    completion = Completion(Prompt("2+2?"), text, ())
    assert ReasoningGymFormat().score([completion]) == [plain]
    assert ReasoningGymFormat(think=True).score([completion]) == [think]
