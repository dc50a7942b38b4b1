"""Functions in TRL's and verl's style as rewards."""

from __future__ import annotations

import functools
import json
import math
import sys
from pathlib import Path

import pytest
import torch

from morl.errors import ConfigError, RewardError
from morl.reward import FunctionReward, RewardEntry, RewardScorer
from morl.types import Completion, Prompt

CHAT = [{"role": "user", "content": "2+2?"}]


def score(reward, completions, **options):
    scorer = RewardScorer({"r": RewardEntry(reward, **options)})
    scores = scorer.score(completions)
    scorer.close()
    return scores


def completion(content, text="4", ids=(1, 2), **columns):
    return Completion(Prompt(content, columns), text, ids)


# TRL -----------------------------------------------------------------------------------------------------------------


def test_trl_functions_get_lists_of_everything():
    seen = {}

    def reward(prompts, completions, completion_ids, answer, **kwargs):
        seen.update(locals())
        return [1.0, None]

    rows = [completion("2+2?", answer="4", level=1), completion(CHAT, "5", (3,), answer="4", source="x")]
    scores = score(FunctionReward(reward), rows)
    assert scores.values_BK[0] == 1
    assert scores.values_BK[1].isnan()
    assert seen["prompts"] == ["2+2?", CHAT]
    assert seen["completions"] == ["4", [{"role": "assistant", "content": "5"}]]
    assert seen["completion_ids"] == [[1, 2], [3]]
    assert seen["answer"] == ["4", "4"]
    assert seen["kwargs"] == {"level": [1, None], "source": [None, "x"]}


def test_trl_functions_get_only_what_they_take():
    def reward(completions):
        return [float(len(text)) for text in completions]

    assert score(FunctionReward(reward), [completion("?", "abc", answer="4")]).values_BK.tolist() == [[3.0]]


def test_trl_functions_may_be_async():
    async def reward(prompts, completions, **kwargs):
        return torch.ones(len(completions))

    assert score(FunctionReward(reward), [completion("?")]).values_BK.tolist() == [[1.0]]


def test_columns_without_default_are_required():
    def reward(completions, answer, level, hint=None, *, style, **kwargs): ...

    assert FunctionReward(reward, arguments={"level": 3}).required_columns == ("answer", "style")


def test_trl_functions_may_return_several_rewards():
    def reward(completions):
        return {"a": [1.0] * len(completions), "b": [0.0] * len(completions)}

    scores = score(FunctionReward(reward, reward_names=["a", "b"]), [completion("?")])
    assert scores.names == ("a", "b")
    assert scores.values_BK.tolist() == [[1.0, 0.0]]


def test_trl_functions_that_read_environments_are_told_what_does_that_here():
    def reward_func(environments, **kwargs):
        return [environment.reward for environment in environments]

    with pytest.raises(
        ConfigError, match=r"reads the environments of TRL's trainer, .*; give the class .*`get_reward`"
    ):
        FunctionReward(reward_func)
    with pytest.raises(ConfigError, match=r"needs 'environments' of TRL's trainer, .*; give the class .*`get_reward`"):
        FunctionReward(lambda completions, environments: None)


@pytest.mark.parametrize("name", ["trainer_state", "log_extra", "log_metric", "environments"])
def test_what_only_the_trl_trainer_has_is_refused(name):
    reward = eval(f"lambda completions, {name}: None")
    with pytest.raises(ConfigError, match=f"needs '{name}' of TRL's trainer"):
        FunctionReward(reward)
    assert FunctionReward(eval(f"lambda completions, {name}=None: None")).required_columns == ()


# verl ----------------------------------------------------------------------------------------------------------------


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    if solution_str == "boom":
        raise ValueError("cannot parse")
    return float(solution_str == ground_truth)


ROW = {"data_source": "sums", "reward_model": {"style": "rule", "ground_truth": "4"}, "extra_info": {"index": 3}}


def test_verl_functions_are_called_once_per_completion():
    scores = score(FunctionReward(compute_score), [completion("?", text, **ROW) for text in ("4", "boom", "5")])
    assert scores.values_BK.isnan().flatten().tolist() == [False, True, False]
    assert scores.values_BK[[0, 2]].tolist() == [[1.0], [0.0]]
    assert scores.failed_BK.flatten().tolist() == [False, True, False]


def test_verl_functions_get_the_columns_of_verls_files():
    seen = []

    def reward(**kwargs):
        seen.append(kwargs)
        return 1

    rows = [completion("?", **ROW), completion("?", data_source="x", ground_truth="5")]
    score(FunctionReward(reward, style="verl"), rows)
    assert seen == [
        {"data_source": "sums", "solution_str": "4", "ground_truth": "4", "extra_info": {"index": 3}},
        {"data_source": "x", "solution_str": "4", "ground_truth": "5", "extra_info": None},
    ]
    assert FunctionReward(compute_score).required_columns == ("data_source",)
    assert FunctionReward(reward, style="verl").required_columns == ()


def test_a_row_without_ground_truth_ends_the_run():
    with pytest.raises(
        RewardError, match=r"needs the column `ground_truth`, or `reward_model`.*the row has data_source, r"
    ):
        score(FunctionReward(compute_score), [completion("?", data_source="x", reward_model={"style": "rule"})])


def test_of_a_dict_the_score_counts_or_the_named_keys():
    def reward(solution_str, ground_truth):
        if solution_str == "boom":
            raise ValueError
        return {"score": 0.5, "acc": True, "note": "fine"}

    rows = [completion("?", **ROW), completion("?", "boom", **ROW)]
    assert score(FunctionReward(reward), rows[:1]).values_BK.tolist() == [[0.5]]
    scores = score(FunctionReward(reward, reward_names=("acc", "score")), rows)
    assert scores.names == ("acc", "score")
    assert scores.values_BK[0].tolist() == [1.0, 0.5]
    assert scores.failed_BK.tolist() == [[False, False], [True, True]]
    with pytest.raises(
        RewardError, match=r"a dict without 'scores'; did you mean 'score'\?; its keys: score, acc, note"
    ):
        score(FunctionReward(reward, reward_names=("scores",)), rows)
    with pytest.raises(RewardError, match=r"must return a dict with the keys a, b; got 1"):
        score(FunctionReward(lambda solution_str: 1, reward_names=("a", "b")), rows)


def test_verl_functions_may_be_async_and_fail_one_by_one():
    async def reward(solution_str, ground_truth, **kwargs):
        return compute_score("", solution_str, ground_truth)

    scores = score(FunctionReward(reward), [completion("?", text, **ROW) for text in ("4", "boom", "5")])
    assert scores.failed_BK.flatten().tolist() == [False, True, False]
    assert scores.values_BK[0] == 1


def test_a_parameter_that_verl_does_not_pass_is_refused():
    def reward(solution_str, tokenizer): ...

    with pytest.raises(ConfigError, match="needs 'tokenizer', which a verl reward is not given"):
        FunctionReward(reward)
    assert FunctionReward(reward, arguments={"tokenizer": 1}).required_columns == ()


# Style and options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "fit"),
    [
        (lambda text: 1, "neither style"),
        (lambda **kwargs: 1, "neither style"),
        (lambda completions, solution_str: 1, "both styles"),
    ],
)
def test_a_function_that_fits_no_style_or_both_is_refused(function, fit):
    with pytest.raises(ConfigError, match=f"fit {fit}: trl has .* verl has .*; set `style`"):
        FunctionReward(function)


def test_arguments_reach_every_call_and_win():
    def reward(completions, scale, **kwargs):
        return [scale * len(text) for text in completions]

    rows = [completion("?", "abc", scale=100)]
    assert score(FunctionReward(reward, arguments={"scale": 2}), rows).values_BK.tolist() == [[6.0]]


def test_an_argument_that_the_function_does_not_take_is_refused():
    def reward(completions, scale=1): ...

    with pytest.raises(
        ConfigError, match=r"no parameter 'scal'; did you mean 'scale'\?; its parameters: completions, sc"
    ):
        FunctionReward(reward, arguments={"scal": 2})


def test_an_unknown_style_is_refused():
    with pytest.raises(ConfigError, match=r"unknown style 'verll'; did you mean 'verl'\?; choose from auto, trl, verl"):
        FunctionReward(compute_score, style="verll")


def test_what_cannot_be_called_by_keyword_is_refused():
    with pytest.raises(ConfigError, match="takes 'completions' by position only"):
        FunctionReward(lambda completions, /: 1)
    with pytest.raises(ConfigError, match=r"the parameters of the function max cannot be read"):
        FunctionReward(max)


@pytest.mark.parametrize("what", [3, Completion, "collections:OrderedDict"])
def test_what_is_no_function_is_refused(what):
    with pytest.raises(ConfigError, match="a reward function is expected; got"):
        FunctionReward(what)


def test_partials_and_callable_objects_are_functions():
    class Judge:
        def __call__(self, completions):
            return [2.0] * len(completions)

    def reward(completions, scale):
        return [scale] * len(completions)

    assert score(FunctionReward(Judge()), [completion("?")]).values_BK.tolist() == [[2.0]]
    partial = FunctionReward(functools.partial(reward, scale=3.0))
    assert partial.required_columns == ()
    assert score(partial, [completion("?")]).values_BK.tolist() == [[3.0]]


# Import paths --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(
        "runs = []\nruns.append(1)\n"
        "def brief(completions, **kwargs):\n    return [float(len(text) < 3) for text in completions]\n"
        "def wordy(completions, **kwargs):\n    return [float(len(text) > 3) for text in completions]\n"
        "class Judge:\n    @staticmethod\n    def judge(completions):\n        return [0.5] * len(completions)\n"
    )
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    (tmp_path / "crashing.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("my_rewards", "broken", "crashing"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("my_rewards:brief", 1),
        ("my_rewards.py:brief", 1),
        ("./my_rewards.py:wordy", 0),
        ("my_rewards:Judge.judge", 0.5),
    ],
)
def test_functions_are_found_in_modules_and_files(folder, path, value):
    assert score(FunctionReward(path), [completion("?")]).values_BK.tolist() == [[value]]
    assert score(FunctionReward(str(folder / "my_rewards.py:brief")), [completion("?")]).values_BK.tolist() == [[1]]


def test_a_file_runs_once_however_often_it_is_named(folder):
    first = FunctionReward("my_rewards.py:brief")
    second = FunctionReward(f"{folder}/my_rewards.py:wordy")
    assert first._runner.call.__globals__ is second._runner.call.__globals__
    assert first._runner.call.__globals__["runs"] == [1]


def test_files_of_one_name_are_told_apart(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "my_rewards.py").write_text("def brief(completions):\n    return [7.0] * len(completions)\n")
    values = [
        score(FunctionReward(p), [completion("?")]).values_BK.item()
        for p in ("my_rewards.py:brief", "sub/my_rewards.py:brief")
    ]
    assert values == [1.0, 7.0]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "my_rewards.brief",
            r"expected 'package.module:function' or .*got 'my_rewards.brief'; did you mean 'my_rewards:brief'\?",
        ),
        ("brief", "expected 'package.module:function' or 'path/to/file.py:function'; got 'brief'$"),
        (":brief", "expected 'package.module:function'"),
        ("my_rewards:", "expected 'package.module:function'"),
        ("my_rewards:breif", "my_rewards has no 'breif'; did you mean 'brief'?"),
        ("my_rewards.py:Judge.jugde", "my_rewards.py has no 'Judge.jugde'; did you mean 'judge'?"),
        ("my_reward.py:brief", "there is no file 'my_reward.py'; did you mean 'my_rewards.py'?"),
        ("nowhere/my_rewards.py:brief", "there is no file 'nowhere/my_rewards.py'"),
        (
            "my_package.rewards:brief",
            r"there is no module 'my_package' to import 'my_package.rewards' from.*my_package/rewards.py",
        ),
        ("broken:brief", "broken cannot be imported: No module named 'no_such_module_anywhere'"),
        (
            "broken.py:brief",
            "broken.py cannot be imported: ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        ),
        ("crashing:brief", "crashing cannot be imported: ZeroDivisionError"),
        ("crashing.py:brief", "crashing.py cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(folder, path, message):
    with pytest.raises(ConfigError, match=message):
        FunctionReward(path)


# Real data -----------------------------------------------------------------------------------------------------------

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="shared data set is not here")
def test_a_verl_function_on_toolrl_rows():
    rows = [json.loads(line) for line in (DATA / "toolrl" / "rlla_test.jsonl").read_text().splitlines()]
    prompts = [Prompt(row.pop("prompt"), row) for row in rows]
    answers = [Completion(prompt, prompt.columns["ground_truth"], (1,)) for prompt in prompts]
    scores = score(FunctionReward(compute_score), answers)
    assert scores.values_BK.sum() == len(rows) == 80
    assert math.isclose(score(FunctionReward(compute_score), [Completion(prompts[0], "", ())]).values_BK.item(), 0.0)
