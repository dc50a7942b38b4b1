"""`morl diagnose`, from the command line to tables, warnings and a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from morl.cli import main


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path, monkeypatch) -> Path:
    """Two rewards that pull against each other: the shorter a completion, the fewer of its letters are vowels."""
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": f"the answer is {n}"}) + "\n" for n in range(12)))
    Path("rewards.py").write_text(
        "def short(prompts, completions, **columns):\n    return [float(len(c) < 12) for c in completions]\n\n\n"
        "def long(prompts, completions, **columns):\n    return [float(len(c)) for c in completions]\n\n\n"
        "def same(prompts, completions, **columns):\n    return [1.0 for _ in completions]\n"
    )
    rewards = {name: {"name": "python", "function": f"rewards.py:{name}"} for name in ("short", "long", "same")}
    tree = {
        "policy": {"path": str(tiny_model)},
        "prompts": {"path": "prompts.jsonl"},
        "rewards": rewards,
        "sampling": {"max_tokens": 8},
        "training": {"steps": 1, "prompts_per_step": 2, "group_size": 4},
        "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
    }
    path = Path("config.yaml")
    path.write_text(yaml.safe_dump(tree))
    return path


def test_the_tables_the_warnings_and_the_file(config, capsys):
    assert main(["diagnose", str(config), "--output", "found/diagnosis.json", "--prompts", "10"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "10 training prompts, 4 completions of each, from the policy as it is" in said
    assert "warning: `same` varies within none of 10 groups: nothing can be learned of it from this policy" in said
    assert "warning: grpo-no-std will push `short` down at weight 1; it needs more than" in said
    assert "of `long` at first)" in said
    assert "gdpo will push" not in said
    found = json.loads(Path("found/diagnosis.json").read_text())
    assert set(found["rewards"]) == {"short", "long", "same"}
    assert [step["estimator"] for step in found["first_steps"]] == ["grpo", "grpo-no-std", "gdpo (this config)"]
    assert found["first_steps"][1]["pushes"]["short"]["direction"] == "down"
    assert found["config"]["training"]["group_size"] == 4
    price = next(p for p in found["prices"] if (p["reward"], p["of"]) == ("short", "long"))
    # The plain sum needs what the reward costs, by the definition of both.
    assert found["first_steps"][1]["needed"]["short"] == pytest.approx(price["lost"])
    assert not Path("runs").exists(), "nothing is trained, no run folder made"

    # The same again; and with more than the weight that is asked for the reward is not pushed down.
    assert main(["diagnose", str(config), "--output", "again.json", "--prompts", "10"]) == 0
    again = json.loads(Path("again.json").read_text())
    assert again == found
    capsys.readouterr()
    weight = 1.2 * price["lost"]
    weights = [f"--rewards.short.weight={weight}", "--rewards.same=null"]
    assert main(["diagnose", str(config), "--estimators", "grpo-no-std", "--prompts", "10", *weights]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "will push `short` down" not in said


def test_a_policy_with_an_adapter_is_the_model_that_the_adapter_is_merged_into(config, tiny_model, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    source = torch.Generator().manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=source)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "merged")
    found = {}
    for name, option in {
        "adapter": f"--policy.lora.adapter={tmp_path / 'adapter'}",
        "merged": f"--policy.path={tmp_path / 'merged'}",
        "plain": "--policy.lora.rank=2",
    }.items():
        assert main(["diagnose", str(config), f"--output={name}.json", "--prompts=6", option]) == 0
        found[name] = json.loads(Path(f"{name}.json").read_text())
    assert found["adapter"]["rewards"] == found["merged"]["rewards"]
    assert found["adapter"]["rewards"] != found["plain"]["rewards"]


def test_a_divergence_from_the_reference_costs_nothing_before_the_first_step(config, capsys):
    kl = "--rewards.kl={name: reference-kl, weight: 0.001}"
    assert main(["diagnose", str(config), "--output", "kl.json", "--prompts", "4", kl]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "`kl` compares the policy with its reference, and the two are one before the first step" in said
    assert "`kl` varies within none" not in said
    found = json.loads(Path("kl.json").read_text())
    state = found["rewards"]["kl"]
    assert (state["mean"]["mean"], state["mean"]["prompts"], state["success"]) == (0.0, 4, None)
    (price,) = (p for p in found["prices"] if (p["reward"], p["of"]) == ("short", "kl"))
    assert (price["lost"], str(price["lost"])) == (0.0, "0.0"), "it is scored, and is 0, not missing"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "morl diagnose needs a config: morl diagnose CONFIG.yaml"),
        (["config.yaml", "--estimators", "gdop"], "unknown advantage estimator 'gdop'; did you mean 'gdpo'?"),
        (["config.yaml", "--prompts", "1"], "--prompts must be at least 2, for intervals are over prompts; got 1"),
        (["config.yaml", "--success", "shrot=1"], "--success: no reward 'shrot'; did you mean 'short'?"),
        (["config.yaml", "--success", "short"], "--success takes a reward and a score"),
        (["config.yaml", "--output", "."], "--output names a file; . is a folder"),
        (["config.yaml", "--training.group_sise=2"], "unknown key 'training.group_sise'"),
        (["config.yaml", "--prompt", "3"], "unknown option --prompt"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(config, capsys, arguments, says):
    assert main(["diagnose", *arguments]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_help(capsys):
    assert main(["diagnose", "--help"]) == 0
    assert "--success REWARD=SCORE" in capsys.readouterr().out
