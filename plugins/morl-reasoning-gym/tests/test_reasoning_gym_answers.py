"""A right answer to a problem of every task scores 1, a wrong one does not, and none does harm."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from morl.errors import PluginError
from morl.types import Completion, Prompt
from morl_reasoning_gym.prompts import COLUMN, ReasoningGym
from morl_reasoning_gym.rewards import ReasoningGymCorrectness
from morl_reasoning_gym.tasks import names, problem

MIXED = {"datasets": [{"name": "gcd", "weight": 1.0, "config": {}}, {"name": "lcm", "weight": 2.0, "config": {}}]}
SETTINGS: dict[str, dict[str, Any]] = {"composite": MIXED, "rush_hour": {"max_moves": 1}}
ROWS = 2


@pytest.fixture(scope="module")
def correctness() -> ReasoningGymCorrectness:
    """One process for all tasks; it ends with the reward."""
    return ReasoningGymCorrectness()


def answered(prompt: Prompt, answer: str) -> Completion:
    return Completion(prompt, f"So it is <answer>\n{answer}\n</answer>", ())


def drive_out(entry: dict[str, Any]) -> str:
    """The move that solves a puzzle of Rush Hour in one."""
    from reasoning_gym.games.rush_hour import Board

    board = entry["metadata"]["board_config"]
    for car, steps in product(sorted(set(board) - {"o", "x"}), range(1, 5)):
        for move in (f"{car}+{steps}", f"{car}-{steps}"):
            trial = Board(board)
            trial.perform_moves(move)
            if trial.solved:
                return move
    raise AssertionError(f"no single move solves {board}")


def carry_home(entry: dict[str, Any]) -> str:
    """Every box of a Boxnet puzzle to its target, one step of one box after the other: first along the rows."""
    plan = []
    cells = [
        (tuple(map(float, cell.split("_"))), things) for cell, things in entry["metadata"]["initial_state"].items()
    ]
    for cell, things in cells:
        for box in (thing for thing in things if thing.startswith("box_")):
            target = box.replace("box", "target")
            (goal,) = (place for place, there in cells if target in there)
            (x, y), here = cell, cell
            while here != goal:
                x += (goal[0] > x) - (goal[0] < x)
                y += ((goal[1] > y) - (goal[1] < y)) if here[0] == x else 0
                plan.append({f"Agent[{here[0]}, {here[1]}]": f"move({box}, square[{x}, {y}])"})
                here = (x, y)
            plan.append({f"Agent[{x}, {y}]": f"move({box}, {target})"})
    return json.dumps(plan)


SOLVED = {  # the tasks whose problems bear no answer, for there are many
    "boxnet": carry_home,
    "graph_color": lambda entry: json.dumps(entry["metadata"]["possible_answer"]),
    "propositional_logic": lambda entry: entry["metadata"]["example_answer"],
    "rubiks_cube": lambda entry: entry["metadata"]["example_correct_answer"],
    "rush_hour": drive_out,
}


def test_there_are_106_tasks() -> None:
    assert len(names()) == 106
    assert set(SOLVED) < set(names())


@pytest.mark.slow
@pytest.mark.parametrize("task", names())
def test_a_right_answer_scores_1_and_another_does_not(task: str, correctness: ReasoningGymCorrectness) -> None:
    source = ReasoningGym(task, size=ROWS, settings=SETTINGS.get(task, {}))
    for row, prompt in enumerate(source.load()):
        right = prompt.columns["answer"]
        assert (right is None) == (task in SOLVED)
        if task in SOLVED:
            _, entry = problem(task, SETTINGS.get(task, {}), None, 0, row)
            assert prompt.content[-1]["content"] == entry["question"]
            right = SOLVED[task](entry)
        scores = correctness.score(
            [answered(prompt, right), answered(prompt, "no idea"), Completion(prompt, "untagged", ())]
        )
        assert scores[0] == 1.0
        assert isinstance(scores[1], float)
        assert scores[1] < 1.0
        assert scores[2] == 0.0


def test_the_last_block_is_the_answer_and_without_tags_all_of_the_text(correctness: ReasoningGymCorrectness) -> None:
    prompt = ReasoningGym("gcd").row(0)
    right = prompt.columns["answer"]
    twice = Completion(prompt, f"<answer>x</answer> no: <answer>{right}</answer>", ())
    bare = Completion(prompt, f" {right}\n", ())
    assert correctness.score([twice, bare]) == [1.0, 0.0]
    assert ReasoningGymCorrectness(tags=False).score([bare]) == [1.0]


def test_a_halting_game_of_life_has_one_right_answer(correctness: ReasoningGymCorrectness) -> None:
    """reasoning-gym itself gives 1 to all of these."""
    for prompt in ReasoningGym("game_of_life_halting", size=4).load():
        right = prompt.columns["answer"]
        answers = (right, right.lower(), "False" if right == "True" else "True", "perhaps")
        assert correctness.score([answered(prompt, answer) for answer in answers]) == [1.0, 1.0, 0.0, 0.0]


def test_an_answer_that_takes_too_long_fails_alone() -> None:
    prompt = ReasoningGym("countdown").row(0)
    right = prompt.columns["answer"]
    reward = ReasoningGymCorrectness(time_limit=2.0)
    endless = answered(prompt, "9**9**9**9")
    first, late, last = reward.score([answered(prompt, right), endless, answered(prompt, right)])
    assert first == last == 1.0
    assert isinstance(late, TimeoutError)
    assert "more than 2 s of processor time" in str(late)


@pytest.mark.parametrize(
    "attack",
    [
        "__import__('os').system('touch {0}')",
        "open('{0}', 'w').write('x')",
        "__import__('subprocess').run(['touch', '{0}'])",
        "__import__('pathlib').Path('{0}').touch()",
        "__import__('os').mkdir('{0}')",
    ],
)
def test_an_answer_that_is_a_program_leaves_nothing_behind(
    attack: str, tmp_path: Path, correctness: ReasoningGymCorrectness
) -> None:
    prompt = ReasoningGym("countdown").row(0)
    target = tmp_path / "made"
    (score,) = correctness.score([answered(prompt, attack.format(target))])
    assert isinstance(score, float)
    assert score < 1.0
    assert not target.exists()


def test_an_answer_that_ends_the_process_is_a_failure_or_0_and_the_next_is_scored() -> None:
    prompt = ReasoningGym("countdown").row(0)
    reward = ReasoningGymCorrectness()
    ended = reward.score([answered(prompt, "exit()"), answered(prompt, "__import__('os')._exit(3)")])
    assert all(isinstance(score, RuntimeError) or score < 1.0 for score in ended)
    assert reward.score([answered(prompt, prompt.columns["answer"])]) == [1.0]


def test_a_problem_that_cannot_be_made_ends_the_run(correctness: ReasoningGymCorrectness) -> None:
    made_from = {"task": "gdc", "settings": {}, "level": None, "seed": 0, "row": 0}
    with pytest.raises(PluginError, match=r"cannot be made: TaskError: .*no task 'gdc'; did you mean 'gcd'"):
        correctness.score([answered(Prompt("?", {COLUMN: made_from}), "1")])
