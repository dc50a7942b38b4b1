"""The reward as morl uses it: programs that run, and what they score."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from morl.errors import ConfigError, DataError
from morl.hookspecs import PromptSource, RewardProvider
from morl.plugins import Registry
from morl.reward import RewardEntry, RewardScorer
from morl.testing import check_reward_provider
from morl.types import Completion, Prompt
from morl_code import plugin
from morl_code.contests import CodeContests
from morl_code.humaneval import HumanEval
from morl_code.judge import Judge, Verdict
from morl_code.mbpp import MBPP
from morl_code.rewards import CodeReward

pytestmark = pytest.mark.usefixtures("own_datasets_cache")

DOUBLE = {"tests": [{"code": "assert double(1) == 2"}, {"code": "assert double(2) == 4"}]}
SUM = {"tests": [{"stdin": "1 2\n", "stdout": "3\n"}, {"stdin": "0 0\n", "stdout": "0\n"}]}


def completion(text: str, columns: dict[str, Any]) -> Completion:
    return Completion(Prompt("Write a program.", columns), text, (1,))


def block(program: str) -> str:
    return f"Here it is:\n```python\n{program}\n```\n"


@pytest.fixture(scope="module")
def isolation() -> str:
    """The programs in this file are harmless, so that they may run where no sandbox can."""
    try:
        Judge(isolation="auto").close()
    except ConfigError:
        return "none"
    return "auto"


@pytest.fixture(scope="module")
def make(isolation: str) -> Callable[..., CodeReward]:
    def make(**options: Any) -> CodeReward:
        patient = {"seconds": 60.0, "total_seconds": 300.0}  # a busy machine takes its time
        return CodeReward(**{"isolation": isolation, "workers": 2} | patient | options)

    return make


@pytest.fixture(scope="module")
def reward(make: Callable[..., CodeReward]) -> CodeReward:
    return make()


def test_the_installed_plugin_offers_its_parts() -> None:
    registry = Registry()
    assert registry.find("reward provider", "code").plugin.distribution == "morl-code"
    for name in ("humaneval", "mbpp", "code-contests"):
        assert registry.find("prompt source", name).plugin.distribution == "morl-code"


def test_every_path_of_the_plugin_can_be_imported(isolation: str) -> None:
    registry = Registry([plugin], discover=False)
    assert isinstance(registry.find("reward provider", "code").load()(isolation=isolation), RewardProvider)
    for name in plugin.morl_register_prompt_sources():
        assert isinstance(registry.find("prompt source", name).load()(), PromptSource)


@pytest.mark.parametrize(
    ("text", "passed", "bug"),
    [
        (block("def double(x): return 2 * x"), 1.0, 1.0),
        (block("def double(x): return x + 1"), 0.5, 1.0),
        (block("def double(x): return x"), 0.0, 1.0),
        (block("def double(x):\n    if x > 1: raise ValueError\n    return 2"), 0.5, 0.0),
        (block("def twice(x): return 2 * x"), 0.0, 0.0),
        (block("def double(x) return 2 * x"), 0.0, 0.0),
        ("I cannot do that.", 0.0, 0.0),
        ("", 0.0, 0.0),
        ("def double(x): return 2 * x", 1.0, 1.0),
    ],
)
def test_function_tests(reward: CodeReward, text: str, passed: float, bug: float) -> None:
    assert reward.score([completion(text, DOUBLE)]) == {"pass": [passed], "bug": [bug]}


@pytest.mark.parametrize(
    ("program", "passed", "bug"),
    [
        ("print(sum(map(int, input().split())))", 1.0, 1.0),
        ("print(0)", 0.5, 1.0),
        ("print(1 // sum(map(int, input().split())))", 0.0, 0.0),
        ("print(3", 0.0, 0.0),
    ],
)
def test_standard_input_and_output(reward: CodeReward, program: str, passed: float, bug: float) -> None:
    assert reward.score([completion(block(program), SUM)]) == {"pass": [passed], "bug": [bug]}


def test_the_reward_keeps_the_contract(reward: CodeReward) -> None:
    programs = ("", block("def double(x): return 2 * x"), block("def double(x): return 1 / 0"))
    check_reward_provider(lambda: reward, [completion(program, DOUBLE) for program in programs])


def test_scores_stand_in_the_order_of_the_completions(reward: CodeReward) -> None:
    batch = [
        completion("Nothing.", DOUBLE),
        completion(block("def double(x): return x + 1"), DOUBLE),
        completion("", SUM),
        completion(block("print(sum(map(int, input().split())))"), SUM),
    ]
    assert reward.score(batch) == {"pass": [0.0, 0.5, 0.0, 1.0], "bug": [0.0, 1.0, 0.0, 1.0]}
    assert reward.score([]) == {"pass": [], "bug": []}


def test_one_case_that_hangs_costs_that_case_only(make: Callable[..., CodeReward]) -> None:
    program = "def double(x):\n    while x > 1: pass\n    return 2 * x"
    scores = make(seconds=1.0).score([completion(block(program), DOUBLE)])
    assert scores == {"pass": [0.5], "bug": [0.0]}


def test_a_program_goes_on_where_the_prompt_ended(reward: CodeReward) -> None:
    columns = DOUBLE | {"prefix": "def double(x):\n    '''Twice x.'''\n", "names": ["double"]}
    for text in ("    return 2 * x\n", block("    return 2 * x"), block("def double(x):\n    return 2 * x")):
        assert reward.score([completion(text, columns)]) == {"pass": [1.0], "bug": [1.0]}


def test_a_function_of_another_name_is_a_bug(reward: CodeReward) -> None:
    columns = DOUBLE | {"prefix": "def double(x):\n    '''Twice x.'''\n", "names": ["double"]}
    scores = reward.score([completion(block("def twice(x):\n    return 2 * x"), columns)])
    assert scores == {"pass": [0.0], "bug": [0.0]}


def test_the_use_of_a_program_is_not_the_program(reward: CodeReward) -> None:
    text = block("def double(x): return 2 * x") + block("print(double(input()))") + "```python\nassert double(1) == 2"
    assert reward.score([completion(text, DOUBLE)]) == {"pass": [1.0], "bug": [1.0]}


def test_bug_can_ask_for_some_pass(make: Callable[..., CodeReward]) -> None:
    nothing, half = block("def double(x): return None"), block("def double(x): return x + 1")
    batch = [completion(nothing, DOUBLE), completion(half, DOUBLE)]
    assert make().score(batch) == {"pass": [0.0, 0.5], "bug": [1.0, 1.0]}
    assert make(bug_needs_pass=True).score(batch) == {"pass": [0.0, 0.5], "bug": [0.0, 1.0]}


def test_floating_point_numbers_of_an_output_may_differ_a_little(make: Callable[..., CodeReward]) -> None:
    third = {"tests": [{"stdin": "", "stdout": "0.333333333\n"}, {"stdin": "", "stdout": "1 3333333\n"}]}
    batch = [completion(block(f"print({text!r})"), third) for text in ("0.3333333", "0.33", "1 3333334")]
    assert make().score(batch)["pass"] == [0.5, 0.0, 0.0]
    assert make(tolerance=0.0).score(batch)["pass"] == [0.0, 0.0, 0.0]
    assert make(tolerance=0.05).score(batch)["pass"] == [0.5, 0.5, 0.0]


def test_answers_in_leetcodes_style_need_no_imports(make: Callable[..., CodeReward]) -> None:
    columns = {"tests": [{"code": "assert Solution().f([1, 1, 2]) == 1"}]}
    text = block("class Solution:\n    def f(self, x: List[int]) -> int: return Counter(x).most_common(1)[0][0]")
    free = {"tests": [{"code": "assert f([1, 1, 2]) == 1"}]}
    bare = block("def f(x: List[int]): return x[0]")
    for imports, scores in (("auto", [1.0, 0.0]), ("always", [1.0, 1.0]), ("never", [0.0, 0.0])):
        assert make(imports=imports).score([completion(text, columns), completion(bare, free)])["pass"] == scores


def test_equal_shares_are_equal_floats(reward: CodeReward) -> None:
    """1 of 3 cases, and 3 of 9."""
    for cases in (3, 9):
        tests = {"tests": [{"code": f"assert double({n}) == {2 * n if n % 3 == 0 else -1}"} for n in range(cases)]}
        assert reward.score([completion(block("def double(x): return 2 * x"), tests)])["pass"] == [1 / 3]


def test_what_is_the_program_can_be_chosen(make: Callable[..., CodeReward]) -> None:
    text = block("def double(x): return 2 * x") + block("def double(x): return x")
    thinking = f"{text}</think>{block('def double(x): return x + 1')}"
    for options, scored, expected in (
        ({"extract": "first-block"}, text, 1.0),
        ({"extract": "last-block"}, text, 0.0),
        ({"extract": "text"}, "def double(x): return 2 * x", 1.0),
        ({"opened_by_prompt": True}, text, 0.0),
        ({"opened_by_prompt": True}, thinking, 0.5),
    ):
        assert make(**options).score([completion(scored, DOUBLE)])["pass"] == [expected]


def rows(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_humaneval_from_file_to_score(reward: CodeReward, tmp_path: Path) -> None:
    row = {
        "task_id": "Own/0",
        "prompt": "def near(a, b):\n    return abs(a - b) < 1\n\ndef half(x):\n    '''Half of x.'''\n",
        "entry_point": "half",
        "test": (
            "def check(candidate):\n    assert near(candidate(4), 2)\n    assert candidate(0) == 0\n    assert True\n"
        ),
        "canonical_solution": "    return x / 2\n",
    }
    (prompt,) = HumanEval(path=rows(tmp_path, row)).load()
    cheating = block("def near(a, b): return True\ndef half(x): return 0")
    texts = [row["canonical_solution"], cheating, "    return x / 2 if near(x, x) else None"]
    scores = reward.score([Completion(prompt, text, (1,)) for text in texts])
    assert scores == {"pass": [1.0, 0.5, 1.0], "bug": [1.0, 1.0, 1.0]}


def test_mbpp_from_file_to_score(reward: CodeReward, tmp_path: Path) -> None:
    row = {
        "task_id": 601,
        "text": "Write a function to read a number.",
        "code": "class Number:\r\n\tdef __init__(self, x):\r\n\t\tself.x = x\r\ndef read(n):\r\n\treturn n.x",
        "test_setup_code": "two = Number(2)\r\nthree = Number(3)",
        "test_list": ["assert read(two) == 2", "assert (read(three)) == 3 "],
        "challenge_test_list": [],
    }
    (prompt,) = MBPP(path=rows(tmp_path, row)).load()
    wrong = str(prompt.columns["reference"]).replace("n.x", "2")
    scores = reward.score([Completion(prompt, text, (1,)) for text in (prompt.columns["reference"], block(wrong))])
    assert scores == {"pass": [1.0, 0.5], "bug": [1.0, 1.0]}


def test_contest_rows_from_file_to_score(reward: CodeReward, tmp_path: Path) -> None:
    calls = {"fn_name": "pair", "inputs": [[1, 2], [0, 0]], "outputs": [[[1, 2]], [[0, 0]]]}
    stdio = {"inputs": ["1 2\n"], "outputs": ["3\n"]}
    path = rows(tmp_path, *({"question": "Do it.", "input_output": json.dumps(tests)} for tests in (calls, stdio)))
    pair, total = CodeContests(path=path).load()
    batch = [
        Completion(pair, block("def pair(a, b): return (a, b)"), (1,)),
        Completion(pair, block("class Solution:\n    def pair(self, a, b): return [a, b]"), (1,)),
        Completion(pair, block("def pair(a, b): return [1, 2]"), (1,)),
        Completion(total, block("print(sum(map(int, input().split())))"), (1,)),
    ]
    assert reward.score(batch) == {"pass": [1.0, 1.0, 0.5, 1.0], "bug": [1.0, 1.0, 1.0, 1.0]}


def test_a_row_without_tests_ends_the_run(reward: CodeReward) -> None:
    with pytest.raises(DataError, match="column 'tests' must be a list of at least one case"):
        reward.score([completion("anything", {"tests": []})])
    with pytest.raises(DataError, match="column 'setup' must hold code as text; got int 3"):
        reward.score([completion("anything", DOUBLE | {"setup": 3})])


class BrokenJudge(Judge):
    """One that cannot start the first program: what happens when a machine runs out of processes."""

    def run(self, programs: Any) -> list[Verdict | Exception]:
        return [OSError("no more processes"), *super().run(programs[1:])]


def test_a_failure_of_the_sandbox_is_no_score(reward: CodeReward, isolation: Any) -> None:
    broken = CodeReward(isolation=isolation, workers=1)
    object.__setattr__(broken, "_judge", BrokenJudge(isolation=isolation, workers=1))
    scorer = RewardScorer({"code": RewardEntry(broken)})
    right = completion(block("def double(x): return 2 * x"), DOUBLE)
    scores = scorer.score([right, right])
    assert scores.failed_BK.tolist() == [[True, True], [False, False]]
    assert scores.values_BK[1].tolist() == [1.0, 1.0]
    assert scores.values_BK[0].isnan().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"extract": "last-blok"},
            "unknown extract 'last-blok'; did you mean 'last-block'.* choose from auto, last-block",
        ),
        ({"seconds": 0.0}, "seconds must be positive; got 0"),
        ({"total_seconds": -1.0}, "total_seconds must be positive; got -1"),
        ({"seconds": 9.0, "total_seconds": 8.0}, "total_seconds must be at least seconds; got 8 and 9"),
        ({"memory": 0}, "memory must be positive; got 0"),
        ({"imports": "allways"}, "unknown imports 'allways'; did you mean 'always'.* choose from auto, always, never"),
        ({"tolerance": 1.0}, r"tolerance must be in \[0, 1\); got 1"),
        ({"tolerance": -0.1}, r"tolerance must be in \[0, 1\); got -0.1"),
        ({"workers": 0}, "workers must be at least 1, or null for one per processor; got 0"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CodeReward(**options)


# The data sets themselves, where they are at hand --------------------------------------------------------------------

DATA = Path(__file__).parents[4] / "shared" / "data"
need_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data; the rows above cover the same")


@need_data
@pytest.mark.slow
def test_every_reference_of_humaneval_passes_and_no_empty_function_does(reward: CodeReward) -> None:
    prompts = HumanEval(path=str(DATA / "humaneval" / "HumanEval.jsonl.gz")).load()
    assert len(prompts) == 164
    scores = reward.score([Completion(prompt, prompt.columns["reference"], (1,)) for prompt in prompts])
    assert scores == {"pass": [1.0] * 164, "bug": [1.0] * 164}
    scores = reward.score([Completion(prompt, "    return None\n", (1,)) for prompt in prompts])
    assert [p.columns["task_id"] for p, score in zip(prompts, scores["pass"], strict=True) if score == 1.0] == []
    assert sum(scores["bug"]) == 158  # which is why `bug_needs_pass` is there


@need_data
@pytest.mark.slow
def test_every_reference_of_mbpp_passes(reward: CodeReward) -> None:
    prompts = MBPP(path=str(DATA / "mbpp" / "mbpp.jsonl"), split="all", challenge=True).load()
    assert len(prompts) == 974
    scores = reward.score([Completion(prompt, prompt.columns["reference"], (1,)) for prompt in prompts])
    assert scores == {"pass": [1.0] * 974, "bug": [1.0] * 974}


@need_data
def test_answers_to_another_task_of_mbpp_do_not_pass(reward: CodeReward) -> None:
    prompts = MBPP(path=str(DATA / "mbpp" / "mbpp.jsonl"), split="test", limit=40).load()
    scores = reward.score([Completion(prompt, other.columns["reference"], (1,)) for prompt, other in pairwise(prompts)])
    assert scores == {"pass": [0.0] * 39, "bug": [0.0] * 39}
