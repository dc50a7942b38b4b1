"""Settings of sampling that rows bring along, and what of them is refused before a model is loaded."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest

from morl import Prompt, hookimpl, train
from morl.errors import ConfigError, DataError
from morl.rollout.transformers import TransformersBackend
from morl.types import Sampling


def rows(*drawn):
    columns = [{} if own is None else {"drawn": own} for own in drawn]
    return [Prompt(f"the answer is {number}", each) for number, each in enumerate(columns)]


COLUMN = {"sampling.overrides_column": "drawn", "prompts": {}, "training.prompts_per_step": 2}


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"temprature": 1.0}, "prompts: row 1: drawn has the setting 'temprature', .*did you mean 'temperature'"),
        ({"temperature": "hot"}, "row 1: drawn has temperature='hot'; expected a number like 1.0"),
        ({"temperature": -1.0}, "row 1: drawn: .*temperature"),
        ({"max_tokens": 4.5}, "row 1: drawn has max_tokens=4.5; expected a number like 256"),
        ({"max_tokens": True}, "row 1: drawn has max_tokens=True"),
        ({"max_tokens": 13}, "row 1: drawn has max_tokens=13, more than sampling.max_tokens=12"),
        ({"stop": 7}, "row 1: drawn has stop=7; expected a list"),
        ({"stop": "x"}, "row 1: .*must be a list of texts"),
        ({"stop": ["<pad>x"]}, "row 1: drawn: .*can never match"),
        ({"stop_token_ids": [10**6]}, "row 1: drawn: .*there is no token 1000000"),
        ({"temperature": 0.0}, "row 1: drawn: temperature 0 makes all 4 completions of the prompt the same"),
        ({"regex": "(a"}, r"row 1: drawn: sampling\.regex: "),
        ({"regex": 5}, "row 1: drawn has regex=5; expected a text"),
        ({"regex": "a", "grammar": "b"}, "row 1: .*completions follow one of them"),
        ([0.7], "row 1: drawn must be a mapping of settings .*; got list"),
        ("0.7x", "row 1: drawn is a text, but no JSON"),
    ],
)
def test_what_a_row_cannot_bring_is_refused_with_its_number(settings, own, message):
    with pytest.raises(DataError, match=message):
        train(settings(COLUMN), prompts=rows({"temperature": 0.7}, own, None))


def test_a_column_that_no_row_has_is_refused_with_those_that_there_are(settings):
    with pytest.raises(ConfigError, match="no row of prompts has anything in the column 'draw'; did you mean 'drawn'"):
        train(settings({**COLUMN, "sampling.overrides_column": "draw"}), prompts=rows({"top_p": 0.9}, None))


def test_a_setting_that_the_backend_does_not_know_is_refused(settings):
    class Plain(TransformersBackend):
        sampling_options: ClassVar = frozenset()

    with pytest.raises(DataError, match=r"row 0: drawn: sampling\.min_p has no effect: the backend"):
        train(settings(COLUMN), prompts=rows({"min_p": 0.1}, None), rollout=Plain())


class Kept:
    """Keeps prompt and text of every completion."""

    def __init__(self):
        self.said = []

    @hookimpl
    def morl_rollouts_ready(self, rollouts):
        self.said += [(each.prompt.content, each.text, each.truncated) for each in rollouts.completions()]


def test_rows_bring_languages_of_their_own_and_training_follows(settings, rows_of):
    """Each completion is of its row's language, and the update computes the log-probabilities of sampling."""
    pytest.importorskip("llguidance", reason="llguidance is not installed: pip install 'morl-llm[structured]'")
    own, kept = [{"regex": "[0-4]{1,3}x"}, {"json_schema": {"enum": ["a", "bc"]}}, None], Kept()
    changes = {**COLUMN, "training.steps": 2, "training.prompts_per_step": 3, "training.mini_batches": 1}
    result = train(settings(changes), prompts=rows(*own), plugins=[kept])
    assert len(kept.said) == 24
    for content, text, truncated in kept.said:
        if content.endswith("0"):
            assert not truncated
            assert re.fullmatch("[0-4]{1,3}x", text)
        if content.endswith("1"):
            assert text in ('"a"', '"bc"')
    for row in rows_of(result):
        assert float(row["rollout/logprob_difference_max"]) < 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling.regex": "(a"}, r"sampling\.regex: "),
        ({"sampling.regex": "a", "sampling.grammar": "start: /a/"}, "completions follow one of them"),
    ],
)
def test_a_language_with_a_mistake_is_refused_before_the_run_has_a_folder(settings, tmp_path, changes, message):
    pytest.importorskip("llguidance", reason="llguidance is not installed: pip install 'morl-llm[structured]'")
    with pytest.raises(ConfigError, match=message):
        train(settings(changes))
    assert not (tmp_path / "run").exists()


def test_null_and_absent_settings_are_those_of_the_section():
    section = Sampling(temperature=0.8, top_k=5, overrides_column="drawn")
    plain = Sampling(temperature=0.8, top_k=5)
    for columns in ({}, {"drawn": None}, {"drawn": {"temperature": None}}, {"drawn": "{}"}):
        assert section.of(columns) == plain
    assert section.of({"drawn": {"stop": ["a"], "top_k": 0}}) == Sampling(temperature=0.8, stop=("a",))
    assert section.of({"drawn": {"temperature": 0.1, "top_k": 2}}, keep=["temperature"]) == Sampling(0.8, top_k=2)
    assert plain.of({"drawn": {"temperature": 9.0}}) is plain


def test_held_out_rows_bring_theirs_but_a_temperature_of_the_evaluation_stands(settings, tmp_path):
    """Greedy, so that a row drawn at its own temperature would show; rows end by their own limit."""
    held_out = rows({"temperature": 5.0, "max_tokens": 3}, {"max_tokens": 5}, None)
    changes = {**COLUMN, "evaluation": {"temperature": 0.0}, "training.steps": 1, "optimizer.lr": 0.0}
    changes |= {"optimizer.warmup_steps": 0, "optimizer.schedule": "constant"}
    seen = []
    for seed in (1, 2):
        config = settings({**changes, "output": str(tmp_path / str(seed)), "seed": seed})
        run = train(config, prompts=rows({}, {"top_p": 0.5}), evaluation_prompts=held_out)
        seen.append(run.evaluations[0])
    assert seen[0] == seen[1]
    assert seen[0]["completions/length_mean"] <= (3 + 5 + 12) / 3


def test_held_out_rows_bring_their_temperature_where_the_evaluation_has_none(settings, tmp_path):
    """All are greedy by their own, so that no seed shows."""
    changes = {**COLUMN, "evaluation": {}, "training.steps": 1, "training.checkpoint_every": 0}
    seen = []
    for seed in (1, 2):
        config = settings({**changes, "output": str(tmp_path / str(seed)), "seed": seed})
        run = train(config, prompts=rows({}, None), evaluation_prompts=rows(*[{"temperature": 0.0}] * 3))
        seen.append(run.evaluations[0])
    assert seen[0] == seen[1]
