from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import forks
import pytest
import torch
import yaml

from morl import train
from morl.cli import main
from morl.errors import DataError
from morl.evaluation.arguments import Measures
from morl.evaluation.run import evaluate_model
from morl.hookspecs import hookimpl
from morl.types import Prompt


def failing(prompts: list[str], completions: list[str], **columns: Any) -> list[float | None]:
    raise RuntimeError("no judge")


def test_figures_follow_from_the_samples(config, tiny_model):
    found = evaluate_model(config(), str(tiny_model), Measures(k=(1, 2, 4), limit=8), keep_samples=True)
    figures, samples = found.figures, found.samples
    assert (figures.prompts, figures.samples, len(samples)) == (10, 4, 40)
    assert [row["prompt_row"] for row in samples] == [row for row in range(10) for _ in range(4)]
    for name, reward in figures.rewards.items():
        values = [row["rewards"][name] for row in samples]
        assert reward.mean.mean == pytest.approx(sum(values) / 40)
        assert figures.passes[name].at[1].mean == pytest.approx(reward.mean.mean)
        by_prompt = [any(values[start : start + 4]) for start in range(0, 40, 4)]
        assert figures.passes[name].at[4].mean == pytest.approx(sum(by_prompt) / 10)
    assert figures.length.mean == pytest.approx(sum(row["tokens"] for row in samples) / 40)
    assert figures.truncated.mean == pytest.approx(sum(row["truncated"] for row in samples) / 40)
    assert figures.over_limit.mean == pytest.approx(1 - figures.rewards["short"].mean.mean)
    assert 0 < figures.rewards["short"].mean.mean < 1  # or the lines above could hold by chance


def test_the_same_seed_gives_the_same_figures(config, tiny_model):
    state = torch.get_rng_state()
    first, second = (evaluate_model(config(), str(tiny_model), keep_samples=True) for _ in range(2))
    assert (first.figures, first.samples) == (second.figures, second.samples)
    assert torch.equal(state, torch.get_rng_state())
    other = evaluate_model(config("--seed=2"), str(tiny_model), keep_samples=True)
    assert [row["completion"] for row in other.samples] != [row["completion"] for row in first.samples]


def test_it_agrees_with_the_evaluation_of_training(config, tiny_model, tmp_path):
    tree = config("--training.steps=1", "--training.prompts_per_step=2", "--training.group_size=2")
    tree["policy"] = {"path": str(tiny_model)}
    tree["prompts"] = tree["evaluation"]["prompts"]
    result = train({**tree, "output": str(tmp_path / "run")})
    for model, step in ((str(tiny_model), 0), (str(result.folder), 1), (str(result.model), 1)):
        figures = evaluate_model(tree, model).figures
        expected = result.evaluations[step]
        assert {name: reward.mean.mean for name, reward in figures.rewards.items()} == pytest.approx(
            {name: expected[name] for name in result.rewards}
        )
        assert figures.length.mean == pytest.approx(expected["completions/length_mean"])


def test_greedy(config, tiny_model):
    greedy = config("--evaluation.samples=1", "--evaluation.temperature=0")
    first, second = (evaluate_model({**greedy, "seed": seed}, str(tiny_model), keep_samples=True) for seed in (1, 2))
    assert first.samples == second.samples
    assert list(first.figures.passes["short"].at) == [1]


def test_adapters_and_their_like_are_no_matter_of_evaluation(config, tiny_model):
    tree = config("--policy.lora.rank=4", "--policy.gradient_checkpointing=true", "--policy.attention=padded")
    found = evaluate_model(tree, str(tiny_model)).config.policy
    assert (found.lora, found.gradient_checkpointing, found.attention) == (None, False, "padded")


def write(path: Path, tree: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(tree))
    return str(path)


def test_the_command_prints_and_writes(config, tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    path = write(tmp_path / "config.yaml", config())
    output, samples = tmp_path / "made" / "figures.json", tmp_path / "samples.jsonl"
    command = ["evaluate", path, str(tiny_model), "--k", "1,2", "--limit=8", "--success", "short=1"]
    assert main([*command, f"--output={output}", "--samples_file", str(samples), "--evaluation.samples=2"]) == 0
    printed = capsys.readouterr().out
    content = json.loads(output.read_text())
    short = content["rewards"]["short"]["mean"]
    for text in (
        f"model: {tiny_model}",
        "10 held-out prompts, 2 completions of each, temperature 1",
        f"{short['mean']:.3f} [{short['low']:.3f}, {short['high']:.3f}]",
        "pass@1 (short >= 1)",
        "pass@2 (short >= 1)",
        "over 8 tokens",
        "truncated",
    ):
        assert text in printed
    assert "pass@2 (vowel" not in printed
    assert content["model"] == str(tiny_model)
    assert list(content["passes"]["short"]["at"]) == ["1", "2"]
    assert "over prompts" in content["interval"]
    assert content["config"]["evaluation"]["samples"] == 2
    assert {"morl-llm", "torch", "transformers"} <= set(content["versions"])
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(rows) == 20
    assert set(rows[0]["rewards"]) == {"short", "vowel"}
    assert [row["status"] for row in rows] == ["truncated" if row["truncated"] else "completed" for row in rows]
    assert "turns" not in rows[0], "each was sampled in one go"


def test_failures_are_reported_as_failures(config, tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    judge = f"{{name: python, function: '{__file__}:failing', on_failure: zero, max_failed_steps: null}}"
    path = write(tmp_path / "config.yaml", config(f"--rewards.judge={judge}"))
    samples = tmp_path / "samples.jsonl"
    assert main(["evaluate", path, str(tiny_model), "--samples_file", str(samples)]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "judge" in line and "pass" not in line)
    assert [cell.strip() for cell in line.split("│")[2:6]] == ["0.000 [0.000, 0.308]", "40", "0", "40"]
    assert json.loads(samples.read_text().splitlines()[0])["failed"] == ["judge"]


def test_a_reward_that_fails_on_everything_ends_the_evaluation(config, tiny_model, tmp_path, capsys):
    judge = f"{{name: python, function: '{__file__}:failing'}}"
    path = write(tmp_path / "config.yaml", config(f"--rewards.judge={judge}"))
    assert main(["evaluate", path, str(tiny_model)]) == 2
    assert "reward 'judge' failed on all 40 completions of its first step" in capsys.readouterr().err


def test_an_interrupt_is_no_error(config, tiny_model, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("morl.rollout.transformers.TransformersBackend.generate", interrupted)
    before = signal.getsignal(signal.SIGINT)
    try:
        assert main(["evaluate", write(tmp_path / "config.yaml", config()), str(tiny_model)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it from then on
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_agree_with_one(config, tiny_model, tmp_path, strategy):
    one = evaluate_model(config(), str(tiny_model), keep_samples=True)
    tree = config("--trainer.devices=2", f"--trainer.strategy={strategy}")
    output, samples = tmp_path / "two.json", tmp_path / "two.jsonl"
    command = ["evaluate", write(tmp_path / "config.yaml", tree), str(tiny_model)]
    command += [f"--output={output}", f"--samples_file={samples}"]
    done = forks.run(["morl", *command], tmp_path, ranks=2)
    assert done.returncode == 0, done.output
    assert done.output.count("held-out prompts") == 1
    assert [json.loads(line) for line in samples.read_text().splitlines()] == list(one.samples)
    two = json.loads(output.read_text())
    for name, reward in one.figures.rewards.items():
        assert two["rewards"][name]["mean"]["low"] == reward.mean.low


# Errors, before anything is loaded -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "morl evaluate needs a config and a model"),
        (["config.yaml"], "morl evaluate needs a config and a model"),
        (["config.yaml", "--k=1"], "morl evaluate needs a config and a model"),
        (["config.yaml", "model", "--k=0,1"], "--k takes whole numbers of at least 1, separated by commas"),
        (["config.yaml", "model", "--k=many"], "--k takes whole numbers of at least 1.*; got 'many'"),
        (["config.yaml", "model", "--k=8"], "pass@8 needs 8 completions of each prompt, and evaluation.samples is 4"),
        (["config.yaml", "model", "--success=short"], "--success takes a reward and a score, e.g. correct=1; got"),
        (["config.yaml", "model", "--success=shrt=1"], "no reward 'shrt'; did you mean 'short'"),
        (["config.yaml", "model", "--limit=0"], "--limit must be at least 1 token; got 0"),
        (["config.yaml", "model", "--limit=x"], "morl evaluate: argument --limit: invalid int value"),
        (["config.yaml", "model", "--output=."], r"--output names a file; \. is a folder"),
        (["config.yaml", "model", "--samples_file=."], r"--samples_file names a file; \. is a folder"),
        (["config.yaml", "model", "--sucess=1"], "unknown option --sucess; did you mean '--success'"),
        (["config.yaml", "model", "--policy.path=x"], "--policy.path has no effect here: the model is the second"),
        (["config.yaml", "model", "--policy.lora.adapter=x"], "--policy.lora.adapter has no effect here: MODEL is"),
        (["config.yaml", "model", "--evaluation.sample=2"], "unknown key 'evaluation.sample'; did you mean"),
        (["config.yaml", "model", "--evaluation=null"], "the config has no section `evaluation`.*--evaluation.prompts"),
        (["config.yaml", "model", "--evaluation.temperature=0"], "set samples to 1, or a temperature"),
        (["config.yaml", "modle"], "no tokenizer could be loaded from 'modle'.*; did you mean 'model'"),
        (["config.yaml", "runs/modle"], "no model at 'runs/modle': the folder does not exist; did you mean 'model'"),
        (["config.yaml", "not/at/all"], "no model at 'not/at/all': the folder does not exist; give a model folder or"),
        (["config.yaml", "runs"], "'runs' is not a complete model folder; missing: config.json"),
        (
            ["config.yaml", "unfinished"],
            "the run in unfinished has no model and no checkpoint yet.*morl resume unfinished",
        ),
        (["config.yaml", "config.yaml"], "morl evaluate needs a config and a model"),
        (["config.yaml", "./config.json"], "no model at './config.json': it is a file|the folder does not exist"),
        (["config.yaml", "model", "--evaluation.prompts.limit=0"], "limit must be at least 1 row"),
        (["config.yaml", "model", "--evaluation.prompts.path=absent.jsonl"], "absent.jsonl does not exist"),
        (
            ["config.yaml", "model", "--evaluation.prompts.max_prompt_tokens=1"],
            "longer than 1 tokens",
        ),
        (["config.yaml", "model", "--trainer.accelerator=gqu"], "trainer: .*gqu"),
    ],
)
def test_slips_are_told(arguments, message, config, tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(Path("config.yaml"), config())
    Path("model").symlink_to(tiny_model)
    Path("runs").mkdir()
    Path("unfinished").mkdir()
    write(Path("unfinished", "config.yaml"), config())
    Path("runs", "model").symlink_to(tiny_model)
    assert main(["evaluate", *arguments]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error), error


def test_help_names_every_option(capsys):
    assert main(["evaluate", "--help"]) == 0
    printed = capsys.readouterr().out
    for option in ("CONFIG", "MODEL", "--k", "--success", "--limit", "--output", "--samples_file", "--section.key"):
        assert option in printed


class Source:
    """A prompt source of a plugin."""

    def load(self) -> list[Prompt]:
        return []


class Plugin:
    @hookimpl
    def morl_register_prompt_sources(self) -> dict[str, object]:
        return {"nothing": Source}


def test_no_prompt_at_all_is_told(config, tiny_model):
    tree = config()
    tree["evaluation"]["prompts"] = {"name": "nothing"}
    with pytest.raises(DataError, match=r"evaluation\.prompts: the source holds no prompt"):
        evaluate_model(tree, str(tiny_model), plugins=[Plugin()])


def test_a_column_that_a_reward_needs_is_missed_before_the_model_is_loaded(config, tiny_model):
    tree = config("--rewards.right={name: exact-match, column: anwser}")
    with pytest.raises(DataError, match="anwser"):
        evaluate_model(tree, str(tiny_model))
