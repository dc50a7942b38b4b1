"""The providers as morl uses them, and the prompt source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from morl.errors import ConfigError, DataError
from morl.hookspecs import PromptSource, RewardProvider
from morl.plugins import Registry
from morl.types import Completion, Prompt
from morl_toolcall import correctness, format_score, plugin
from morl_toolcall.prompts import ToolRLPrompts
from morl_toolcall.rewards import CorrectnessReward, FormatReward, ToolCallReward

CALL = '<tool_call>\n{"name": "f", "parameters": {"a": 1}}\n</tool_call>'
GOLD = "<think> hm </think>\n" + CALL
MESSAGES = [{"role": "system", "content": "Tools: f"}, {"role": "user", "content": "Call f with 1."}]

# One row of each kind that the ToolRL data set has.
ROWS = [
    GOLD,
    "<think> I should ask. </think>\n<response> Which \u65e5? </response>",
    "<think> The <tool_call> comes after this. </think>\n<tool_call>\n"
    '{"name": "is_valid", "parameters": {"s": "([{}])"}}\n{"name": "is_valid", "parameters": {"s": "</tool_call>"}}\n'
    '{"name": "Get Thing ", "parameters": {"n": 10, "x": 0.5, "on": false, "l": [1, "2"], "d": {"k": null}}}\n'
    "</tool_call>",
    GOLD + "\n<response> Done. </response>",
]


def completion(text: str, **columns: Any) -> Completion:
    return Completion(Prompt(MESSAGES, columns), text, (1,))


def offered(registry: Registry, kind: str) -> set[str]:
    return {part.name for part in registry.names(kind)}


def test_the_installed_plugin_offers_its_parts() -> None:
    registry = Registry()
    assert {"toolcall", "toolcall-format", "toolcall-correctness"} <= offered(registry, "reward provider")
    assert "toolrl" in offered(registry, "prompt source")


def test_every_path_of_the_plugin_can_be_imported() -> None:
    registry = Registry([plugin], discover=False)
    for name in plugin.morl_register_reward_providers():
        assert isinstance(registry.find("reward provider", name).load()(), RewardProvider)
    assert isinstance(registry.find("prompt source", "toolrl").load()("x.jsonl"), PromptSource)


@pytest.mark.parametrize("gold", ROWS)
def test_gold_rows_score_1_and_3(gold: str) -> None:
    scores = ToolCallReward().score([completion(gold, ground_truth=gold)])
    assert scores == {"format": [1.0], "correctness": [3.0]}


def test_both_at_once_are_the_two_by_themselves() -> None:
    batch = [completion(text, ground_truth=GOLD) for text in (GOLD, CALL, "", CALL.replace("1", "2"))]
    both = ToolCallReward(think=False).score(batch)
    assert tuple(both) == ToolCallReward.reward_names
    assert both["format"] == FormatReward(think=False).score(batch) == [1.0, 1.0, 0.0, 1.0]
    assert both["correctness"] == CorrectnessReward().score(batch) == [3.0, 3.0, -3.0, 1.0]


@pytest.mark.parametrize("provider", [FormatReward, CorrectnessReward, ToolCallReward])
def test_the_reference_answer_may_stand_in_another_column(provider: Any) -> None:
    reward = provider(ground_truth="gold")
    assert reward.required_columns == ("gold",)
    assert reward.score([completion(GOLD, gold=GOLD)])
    assert provider(variant="toolrl").score([completion(GOLD, ground_truth=GOLD)])


def test_options_reach_the_graders() -> None:
    bare = completion(CALL.replace("</tool_call>", ""), ground_truth=GOLD)
    unthinking = completion(CALL, ground_truth=GOLD)
    assert FormatReward().score([unthinking]) == [0.0]
    assert CorrectnessReward(lenient=False).score([bare]) == [-3.0]
    assert CorrectnessReward(variant="toolrl").score([bare]) == [-3.0]
    assert FormatReward(variant="toolrl").score([completion(GOLD, ground_truth=GOLD)]) == [1.0]


@pytest.mark.parametrize("provider", [FormatReward, CorrectnessReward, ToolCallReward])
def test_an_unknown_variant_is_refused(provider: Any) -> None:
    with pytest.raises(ConfigError, match="variant must be 'paper' or 'toolrl'; got 'toolr1'"):
        provider(variant="toolr1")


@pytest.mark.parametrize("provider", [FormatReward, ToolCallReward])
def test_toolrl_without_thinking_is_refused(provider: Any) -> None:
    with pytest.raises(ConfigError, match="variant 'toolrl' always requires <think>"):
        provider(variant="toolrl", think=False)


@pytest.mark.parametrize("provider", [CorrectnessReward, ToolCallReward])
def test_toolrl_read_strictly_is_refused(provider: Any) -> None:
    with pytest.raises(ConfigError, match="variant 'toolrl' has its own way of reading"):
        provider(variant="toolrl", lenient=False)


# Prompts -------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    if path.suffix == ".parquet":
        from datasets import Dataset

        Dataset.from_list(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_rows_become_prompts_in_order(tmp_path: Path, suffix: str) -> None:
    rows = [{"prompt": MESSAGES, "ground_truth": gold, "index": index} for index, gold in enumerate(ROWS)]
    prompts = ToolRLPrompts(write(tmp_path / f"rows.{suffix}", rows)).load()
    assert [prompt.content for prompt in prompts] == [MESSAGES] * len(ROWS)
    assert [prompt.columns for prompt in prompts] == [
        {"ground_truth": gold, "index": index} for index, gold in enumerate(ROWS)
    ]


def test_rows_as_verl_lays_them_out(tmp_path: Path) -> None:
    rows = [{"prompt": MESSAGES, "reward_model": {"style": "rule", "ground_truth": GOLD}}]
    (prompt,) = ToolRLPrompts(write(tmp_path / "rows.parquet", rows)).load()
    assert prompt.columns["ground_truth"] == GOLD


def test_a_folder_with_splits(tmp_path: Path) -> None:
    for split, gold in (("train", ROWS[0]), ("test", ROWS[1])):
        write(tmp_path / f"{split}.jsonl", [{"prompt": MESSAGES, "ground_truth": gold}])
    assert [p.columns["ground_truth"] for p in ToolRLPrompts(str(tmp_path), split="test").load()] == [ROWS[1]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": MESSAGES}, r"row 0 of .* has no 'ground_truth'; its columns: prompt"),
        ({"ground_truth": GOLD}, r"row 0 of .* has no 'prompt'; its columns: ground_truth"),
        ({"prompt": MESSAGES, "ground_truth": "f(1)"}, r"row 0 of .*: the reference answer must be .*got 'f\(1\)'"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ToolRLPrompts(write(tmp_path / "rows.jsonl", [row])).load()


def test_unchecked_reference_answers_pass(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": MESSAGES, "ground_truth": "f(1)"}])
    assert len(ToolRLPrompts(path, check=False).load()) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read ToolRL rows from .*absent\.jsonl"):
        ToolRLPrompts(str(tmp_path / "absent.jsonl")).load()


# The data set itself, where it is at hand ----------------------------------------------------------------------------

DATA = Path(__file__).parents[4] / "shared" / "data" / "toolrl"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/toolrl; the fixture rows above cover the same")
def test_every_gold_row_of_toolrl_scores_1_and_3() -> None:
    golds = [prompt.columns["ground_truth"] for prompt in ToolRLPrompts(str(DATA / "rlla_test.jsonl")).load()]
    golds += [row["output"] for row in json.loads((DATA / "rlla_sft.json").read_text(encoding="utf-8"))]
    assert len(golds) == 480
    for gold in golds:
        assert (format_score(gold, gold), correctness(gold, gold)) == (1.0, 3.0), gold
