"""Settings are chosen on seeds and prompts of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from morl.analysis.results import Results
from morl.compare.check import fingerprint
from morl.compare.tuned import read_tuned
from morl.compare.tuning import at_an_end
from morl.errors import ConfigError
from morl.types import Prompt

OTHER = ("--prompts.path=other.jsonl", "--evaluation.prompts.path=other.jsonl")
TUNE = ("--tune", "optimizer.lr=0.003,0.03", "--primary", "short:0:1,vowel:0:1")


@pytest.fixture
def others(study):
    """`other.jsonl`: prompts that the config's own file does not have."""
    rows = [json.dumps({"prompt": f"quite another question {n}"}) + "\n" for n in range(4)]
    Path("other.jsonl").write_text("".join(rows))


@pytest.mark.slow
def test_a_tuning_grid_leaves_each_arm_with_its_best_settings(compare, others):
    code, said = compare("--estimators", "gdpo", "--seeds", "100", *TUNE, *OTHER, "--training.steps=1", output="tune")
    assert code == 0
    assert "tuned arms: tune/tuned.yaml" in said
    results = Results.load(Path("tune/results.json"))
    finals = {line.name: line.scores["final"]["primary"].by_seed[100] for line in results.lines}
    tree = yaml.safe_load(Path("tune/tuned.yaml").read_text())
    found = tree["arms"]["gdpo"]
    assert found["mean"] == max(finals.values()) == finals[found["of"]]
    assert found["settings"]["estimator.name"] == "gdpo"
    assert found["of"] == f"gdpo, optimizer.lr={found['settings']['optimizer.lr']}"
    assert tree["seeds"] == [100]
    assert len(tree["prompts"]) == 4

    # What went into the choice is refused in the study of the tuned arms.
    def refused(*arguments: str) -> str:
        code, said = compare("--tuned", "tune/tuned.yaml", *arguments)
        assert code == 2
        return " ".join(said.split())

    assert "--seeds: 100 took part in the choice of settings in tune/tuned.yaml" in refused("--seeds", "0", "100")
    for option in OTHER:
        assert "took part in the choice of settings in tune/tuned.yaml; tune on" in refused("--seeds", "0", option)
    assert "arm 'gdpo' is named twice" in refused("--seeds", "0", "--estimators", "gdpo")
    code, said = compare("--tuned", "tune/tuned.yaml", "--estimators", "grpo", "--seeds", "0", "--report_only")
    assert code == 0, "other seeds and prompts, and further arms"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (TUNE[:2], "--tune needs one metric to choose by, and there are several rewards; give --primary"),
        ((*TUNE, "--declare", "gdpo - grpo: short"), "--declare has no effect with --tune"),
        ((*TUNE, "--equivalence", "0.1"), "--equivalence has no effect with --tune"),
        ((*TUNE, "--tuned", "tuned.yaml"), "--tuned has no effect with --tune"),
        ((*TUNE, "--vary", "optimizer.lr=0.1"), "optimizer.lr is given to --vary and to --tune; choose one of them"),
        (("--tune", "optimizer.lr"), "--tune takes KEY=VALUE,VALUE,...; got 'optimizer.lr'"),
        (("--tuned", "config.yaml"), "--tuned: config.yaml is not the tuned.yaml of a tuning grid"),
        (("--tuned", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_runs(compare, arguments, says):
    code, said = compare("--seeds", "0", *arguments)
    assert code == 2
    assert says in " ".join(said.split())
    assert not Path("out").exists()


def test_prompts_are_the_same_where_a_model_is_asked_alike():
    chat = [{"role": "user", "content": "2 + 2?"}]
    assert fingerprint(Prompt("2 + 2?", {"answer": 4})) == fingerprint(Prompt(chat))
    assert fingerprint(Prompt("2 + 2?")) != fingerprint(Prompt("2 + 3?"))
    assert fingerprint(Prompt(chat)) != fingerprint(Prompt([{"role": "system", "content": "2 + 2?"}]))


def test_a_best_value_at_an_end_of_what_was_tried_is_told():
    tried = {"optimizer.lr": [1e-4, 1e-3, 1e-2], "estimator.ddof": [0, 1], "loss.name": ["a", "b"], "seed": [3]}
    chosen = {
        "a": {"optimizer.lr": 1e-2, "estimator.ddof": 1, "loss.name": "a", "seed": 3},
        "b": {"optimizer.lr": 1e-3, "estimator.ddof": 1, "loss.name": "b", "seed": 3},
    }
    assert at_an_end(tried, chosen) == [
        "optimizer.lr: the best value of a is the largest that was tried, 0.01; a larger one may be better still",
    ]
    (said,) = at_an_end({"weight": [1, 3, 6]}, {"a": {"weight": 6}, "b": {"weight": 6}})
    assert said.startswith("weight: the best value of every arm is the largest that was tried, 6;")
    chosen["a"]["optimizer.lr"] = chosen["b"]["optimizer.lr"] = 1e-3
    assert not at_an_end({"optimizer.lr": tried["optimizer.lr"]}, chosen)
    chosen["b"]["optimizer.lr"] = 1e-4
    (said,) = at_an_end({"optimizer.lr": tried["optimizer.lr"]}, chosen)
    assert said.startswith("optimizer.lr: the best value of b is the smallest that was tried, 0.0001; a smaller one")


def test_a_file_without_arms_is_none_of_a_tuning_grid(tmp_path):
    path = tmp_path / "tuned.yaml"
    path.write_text("arms: {gdpo: {settings: {}}}\nseeds: [1]\n")
    with pytest.raises(ConfigError, match=r"is not the tuned\.yaml of a tuning grid: KeyError\('prompts'\)"):
        read_tuned(path)
