"""The experiments can be run as they are frozen: every arm can be built, tuned on prompts and seeds of its own."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "studies"))

import experiments  # noqa: E402

from morl.analysis.plan import Place, read_contrasts, read_primary  # noqa: E402
from morl.compare.arguments import read_arguments  # noqa: E402
from morl.compare.check import check_cells  # noqa: E402
from morl.compare.grid import Grid, read_arms, read_vary  # noqa: E402
from morl.compare.tuning import tuned_label  # noqa: E402
from morl.config import merge, parse, read_configs  # noqa: E402
from morl.plugins import Registry  # noqa: E402
from morl.runtime.checks import check_settings  # noqa: E402
from morl.runtime.parts import build_parts  # noqa: E402

TUNED = [name for name, one in experiments.EXPERIMENTS.items() if one.prompts is not None]


def grid_of(arguments):
    """The config and the grid of a command."""
    _, tree, rest = read_configs(arguments[1:])
    asked = read_arguments(rest)
    tune = read_vary(asked.tune, "--tune")
    arms = read_arms(asked.arms, asked.estimators) or {"any": {}}  # the tuned ones are not there yet
    grid = Grid(arms, tune, asked.seeds, asked.seed_also, tuple(tune))
    return merge(tree, asked.overrides), grid, asked


FEWER = {"e6": 5, "e7": 3, "e7-gpu": 5}
"""Seeds of those whose runs take minutes; the page says so."""


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_arm_can_be_built_and_declared_contrasts_are_among_them(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    registry = Registry()
    base, grid, _ = grid_of(experiments.tuning_arguments(name))
    cells = grid.cells()
    for cell in {cell.arm: cell for cell in cells}.values():
        config = parse({**cell.apply(base), "output": str(tmp_path)}, registry)
        parts = build_parts(config, registry)
        check_settings(config, parts)
        assert config.evaluation is not None
        assert config.evaluation.samples >= 8
    _, _, asked = grid_of(experiments.arguments(name))
    places = list({(label := tuned_label(grid, cell)): Place(label, label) for cell in cells}.values())
    ranges = read_primary(asked.primary)
    assert set(ranges) <= set(parts.scorer.names)
    declared = read_contrasts(asked.declare, places, ["primary", *parts.scorer.names])
    assert 1 <= len(declared) <= 4
    assert len(asked.seeds) == len(experiments.EXPERIMENTS[name].seeds) >= FEWER.get(name, 10)


@pytest.mark.parametrize("name", TUNED)
def test_tuning_and_experiment_share_no_seed_and_no_prompt(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    registry, found = Registry(), []
    for arguments in (experiments.tuning_arguments(name), experiments.arguments(name)):
        base, grid, asked = grid_of(arguments)
        (cell, *_) = check_cells(base, grid.cells()[:1], registry, tmp_path, fingerprints=True)
        found.append((set(asked.seeds), cell.prompts, len(cell.prompts)))
    (seeds, prompts, count), (other_seeds, other_prompts, other_count) = found
    assert not seeds & other_seeds
    assert not prompts & other_prompts
    assert (count, other_count) == (320, 384 + 256)


def test_the_real_model_has_rewards_that_are_at_odds_and_words_of_its_own():
    spec = importlib.util.spec_from_file_location("e7_rewards", ROOT / "studies" / "e7" / "rewards.py")
    rewards = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rewards)
    given = [["bell", "rope", "salt", "king"]] * 3
    texts = ["The king rang a bell.", "The king had a bell, a rope and salt. It was a rope.", "Bell rope salt king"]
    assert rewards.used(texts, given) == [16, 32, 32]
    assert rewards.brief(texts) == [1, 0, 0]
    train, test = (
        [json.loads(line) for line in (ROOT / "studies" / "e7" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "test")
    )
    assert not {word for row in train for word in row["words"]} & {word for row in test for word in row["words"]}
    assert all(f'"{word}"' in row["prompt"] for row in (*train, *test) for word in row["words"])


def test_quantising_leaves_no_more_advantages_than_grpo_has():
    found = json.loads((ROOT / "studies" / "e2" / "distinct.json").read_text())
    for one in found.values():
        assert one["distinct, quantised-gdpo"] == one["distinct, grpo"] < one["distinct, gdpo"]
        assert one["moved"] > 0


def test_rewards_of_the_experiments_by_hand():
    sys.path.insert(0, str(ROOT / "studies" / "e2"))
    try:
        import rewards
    finally:
        sys.path.pop(0)
    gold = '<tool_call>\n{"name": "buy", "parameters": {"count": 7, "item": "pears"}}\n</tool_call>'
    others = [
        gold,
        '{"name": "buy", "parameters": {"count": 8, "item": "plums"}}',
        '{"name": "sell", "parameters": {"count": 7, "item": "pears"}}',
        "7 pears",
    ]
    columns = {"prompts": ["buy 7 pears ->"] * 4, "completions": others}
    graded = {"ground_truth": [gold] * 4}
    assert rewards.tool(**columns, **graded) == [1, 1, 0, 0]
    assert rewards.number(**columns, **graded) == [1, 0, 1, 0]
    assert rewards.word(**columns, **graded) == [1, 0, 1, 0]
    assert rewards.whole(**columns, **graded) == [1, 0, 0, 0]
    assert rewards.opened(**columns, **graded) == [1, 0, 0, 0]
    assert all(0.499 <= score <= 0.501 for score in rewards.judge(**columns))
    assert len(set(rewards.judge(**columns))) == 4
    many = {"prompts": ["a"] * 400, "completions": [str(number) for number in range(400)]}
    assert 160 < sum(rewards.coin(**many)) < 240
    assert rewards.coin(**many) == rewards.coin(**many)
