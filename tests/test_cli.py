"""The command line, with errors as part of it: one screen, the key and the fix, no traceback, no model loaded."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml

from morl import console
from morl.cli import COMMANDS, USAGE, main


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path, monkeypatch):
    """A sound config in the current folder whose model has unreadable weights, so that loading it fails."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model, "model")
    Path("model/model.safetensors").write_bytes(b"no weights")
    Path("prompts.jsonl").write_text('{"prompt": "say one", "answer": "1"}\n{"prompt": "say two", "answer": "2"}\n')
    tree = {
        "output": "run",
        "policy": {"path": "./model"},
        "prompts": {"path": "prompts.jsonl"},
        "rewards": {
            "short": {"name": "length", "limit": 8},
            "right": {"name": "exact-match", "column": "answer"},
        },
        "estimator": {"name": "gdpo"},
        "training": {"steps": 1, "prompts_per_step": 2, "group_size": 4},
        "trainer": {"accelerator": "cpu", "devices": 1},
    }
    Path("config.yaml").write_text(yaml.safe_dump(tree))
    return tree


def fails(capsys, *arguments: str) -> str:
    assert main(["train", "config.yaml", *arguments]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert len(error.splitlines()) <= 24
    assert not Path("run").exists(), "a run that cannot start leaves nothing behind"
    return error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--trainig.steps=3"], ["unknown key 'trainig'", "did you mean 'training'?"]),
        (["--training.step=3"], ["unknown key 'training.step'", "did you mean 'steps'?"]),
        (["--training.steps=many"], ["training.steps", "many"]),
        (["--training.steps=-1"], ["training.steps", "-1"]),
        (["--training=3"], ["training"]),
        (["--policy=3"], ["policy must be a mapping"]),
        (["--optimizer.lr=fast"], ["optimizer.lr", "fast"]),
        (["--estimator.name=gdop"], ["estimator.name: unknown advantage estimator 'gdop'", "did you mean 'gdpo'?"]),
        (["--rollout.name=vlm"], ["rollout.name: unknown rollout backend 'vlm'"]),
        (["--rewards.short.name=lenght"], ["rewards.short.name: unknown reward provider 'lenght'", "'length'"]),
        (["--loss.name=cliped"], ["loss.name", "did you mean 'clipped'?"]),
        (["--estimator.name=grpo-no-std", "--estimator.eps=1e-4"], ["unknown key 'estimator.eps'", "grpo-no-std"]),
        (["--estimator.name=grpo", "--estimator.batch_norm=false"], ["unknown key 'estimator.batch_norm'"]),
        (["--estimator.ddof=3"], ["estimator", "ddof"]),
        (["--rewards.shrot.weight=0.5"], ["rewards.shrot.name", "did you mean 'rewards.short'?"]),
        (["--rewards.short.wieght=0.5"], ["unknown key 'rewards.short.wieght'", "did you mean 'weight'?"]),
        (["--rewards.short.weight=.nan"], ["short", "finite"]),
        (["--rewards.short.weight={short: 1}"], ["short", "weight"]),
        (["--rewards.short.on_failure=ignore"], ["rewards.short.on_failure", "ignore"]),
        (["--rewards.short=null", "--rewards.right=null"], ["no reward is configured"]),
        (["--rewards.short.weight=0", "--rewards.right.weight=0"], ["the weight of every reward is 0"]),
        (["--rewards.a-b.name=length"], ["rewards.a-b", "letters, digits and '_'"]),
        (
            ["--estimator.name=conditioned-gdpo", "--estimator.conditions={shrt: {on: right}}"],
            ["shrt", "did you mean 'short'?"],
        ),
        (
            ["--estimator.name=conditioned-gdpo", "--estimator.conditions={short: {on: rigth}}"],
            ["rigth", "did you mean 'right'?"],
        ),
        (
            [
                "--estimator.name=conditioned-gdpo",
                "--estimator.conditions={short: {on: right}, right: {on: short}}",
            ],
            ["cycle", "short", "right"],
        ),
        (["--training.group_size=1"], ["training.group_size=1", "gdpo"]),
        (["--sampling.temperature=0"], ["sampling.temperature=0", "evaluation.temperature"]),
        (["--sampling.temperature=-1"], ["temperature"]),
        (["--training.mini_batches=3"], ["training.mini_batches=3", "training.prompts_per_step=2"]),
        (["--training.steps=5", "--optimizer.warmup_steps=9"], ["optimizer.warmup_steps=9"]),
        (["--trainer.precision=16-mixed"], ["trainer.precision=16-mixed", "bf16"]),
        (["--loss.kl_estimator=k2"], ["loss", "kl_estimator=k2 has no effect"]),
        (["--loss.clip_low=2"], ["loss", "clip_low"]),
        (["--prompts.path=prompt.jsonl"], ["prompt.jsonl", "did you mean 'prompts.jsonl'?"]),
        (["--prompts.prompt=question"], ["question"]),
        (["--rewards.right.column=anser"], ["'anser'", "right", "did you mean 'answer'?"]),
        (["--policy.path=./missing"], ["./missing"]),
        (["--prompts.max_prompt_tokens=1"], ["max_prompt_tokens", "skip"]),
        (["--sampling.max_tokens=100000"], ["4096"]),
        (["--trainer.strategy=deepspeed_stage_3"], ["DeepSpeed's engine keeps the gradients to itself", "take fsdp2"]),
        (["--trainer.strategy=fspd2"], ["trainer.strategy", "fspd2", "did you mean 'fsdp2'?"]),
        (["--trainer.strategy=ddp_spawn"], ["trainer.strategy", "available: auto, ddp"]),
        (["--trainer.precision=bf16-true"], ["trainer.precision=bf16-true", "policy.dtype=bfloat16"]),
        (
            ["--trainer.strategy=fsdp2", "--policy.dtype=bfloat16"],
            ["policy.dtype=bfloat16 under trainer.strategy=fsdp2", "trainer.precision=bf16-mixed"],
        ),
        (["--optimizer.betas=[1.5, 0.9]"], ["optimizer: betas", "1.5"]),
        (["--optimizer.lr=.inf"], ["optimizer.lr must be finite"]),
        (["--loss.top_entropy=some"], ["loss.top_entropy", "some"]),
        (["--loss.kl_coef=0.1", "--loss.kl_estimator=k4"], ["loss.kl_estimator", "k4"]),
        (
            ["--evaluation={prompts: {path: prompts.jsonl}, samples: 2, temperature: 0}"],
            ["evaluation.temperature=0", "evaluation.samples=2"],
        ),
        (["--trainer.accelerator=qpu"], ["trainer: ", "qpu"]),
        (["--trainer.callbacks=[{class_path: nowhere.Class}]"], ["trainer.callbacks", "nowhere.Class"]),
        (["--trainer.callbacks=[{path: nowhere.Class}]"], ["class_path"]),
        (["steps"], ["unexpected argument 'steps'"]),
        (["--training.steps"], ["--training.steps needs a value"]),
        (["--output.deep.er=3"], ["output"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("-") else "",
)
def test_bad_input_is_named_with_its_fix(config, capsys, arguments, says):
    error = " ".join(fails(capsys, *arguments).split())
    for words in says:
        assert words in error


def test_a_model_folder_without_tokenizer_is_refused(config, capsys):
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        Path("model", name).unlink()
    assert "tokenizer" in fails(capsys)


def test_weights_that_cannot_be_read_are_an_error_of_the_input(config, capsys):
    assert "no causal language model could be loaded from './model'" in fails(capsys)


def test_an_output_folder_that_is_taken_is_refused(config, capsys):
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("mine")
    assert main(["train", "config.yaml", "--output=taken"]) == 2
    assert "output: taken holds other files" in capsys.readouterr().err
    Path("taken/config.yaml").write_text("seed: 0\n")
    assert main(["train", "config.yaml", "--output=taken"]) == 2
    error = capsys.readouterr().err
    assert "taken holds another run" in error
    assert "morl resume taken" in error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train"], "morl train needs a config"),
        (["train", "confg.yaml"], "did you mean 'config.yaml'?"),
        (["trian", "config.yaml"], "unknown command 'trian'; did you mean 'train'?"),
        (["resume"], "morl resume needs the folder of a run"),
        (["resume", "model"], "is not the folder of a run"),
        (["plugins", "extra"], "morl plugins takes `doctor`, or --plugins.disable=NAME"),
        (["plugins", "--plugins.disable=exmple"], "no plugin 'exmple'; did you mean 'example'?"),
        (["train", "config.yaml", "--plugins.disable=exmple"], "no plugin 'exmple'; did you mean 'example'?"),
    ],
)
def test_commands_that_cannot_be_run(config, capsys, arguments, says):
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("text", "says"), [("seed: [1", "is not valid YAML"), ("- a", "must hold a mapping")])
def test_files_that_are_no_config(config, capsys, text, says):
    Path("config.yaml").write_text(text)
    assert main(["train", "config.yaml"]) == 2
    assert says in capsys.readouterr().err


def test_a_run_without_checkpoint_cannot_be_resumed(config, capsys):
    Path("run").mkdir()
    shutil.copy("config.yaml", "run/config.yaml")
    assert main(["resume", "run"]) == 2
    assert "run has no checkpoint to resume from" in capsys.readouterr().err


@pytest.fixture
def finished(config, tiny_model, capsys):
    """The folder `run` of a finished run of one step."""
    shutil.copytree(tiny_model, "model", dirs_exist_ok=True)
    assert main(["train", "config.yaml"]) == 0
    assert "run folder: run" in capsys.readouterr().err


def test_a_finished_run_goes_on_only_with_more_steps(finished, capsys):
    assert main(["resume", "run"]) == 2
    assert "run has finished its 1 steps; to continue, give it more: --training.steps=2" in capsys.readouterr().err
    assert main(["resume", "run", "--training.steps=2"]) == 0
    assert Path("run/checkpoints/step-000002.ckpt").is_file()
    assert yaml.safe_load(Path("run/config.yaml").read_text())["training"]["steps"] == 2


@pytest.mark.parametrize("key", ["optimizer.lr=0.5", "policy.path=./other", "optimizer.betas=[0.5, 0.5]"])
def test_what_a_checkpoint_restores_cannot_be_changed(finished, capsys, key):
    assert main(["resume", "run", "--training.steps=2", f"--{key}"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"{key.partition('=')[0]} cannot change from" in error
    assert "--policy='{name: pretrained, path: run/model}'" in error


def test_later_files_are_laid_over_earlier_ones(config, capsys):
    Path("more.yaml").write_text(
        "training: {group_size: 3}\nsampling: {stop: [b]}\nrewards: {also: {name: length, limit: 4}}"
    )
    Path("last.yaml").write_text("training: {group_size: 5}\nrewards: {short: null}\nevaluation: null")
    arguments = ["config.yaml", "more.yaml", "last.yaml", "--sampling.temperature=0.5"]
    assert main(["train", *arguments, "--print_config"]) == 0
    tree = yaml.safe_load(capsys.readouterr().out)
    assert main(["train", "config.yaml", "--print_config"]) == 0
    alone = yaml.safe_load(capsys.readouterr().out)
    assert tree["training"] == alone["training"] | {"group_size": 5}
    assert tree["sampling"] == alone["sampling"] | {"stop": ["b"], "temperature": 0.5}
    assert [*tree["rewards"]] == [name for name in alone["rewards"] if name != "short"] + ["also"]
    assert tree["evaluation"] is None


def test_a_part_of_another_name_does_not_keep_the_options_of_the_former(config, capsys):
    Path("more.yaml").write_text("rewards: {short: {name: regex, pattern: a}}")
    assert main(["train", "config.yaml", "more.yaml"]) == 2
    assert "unknown key 'rewards.short.limit'" in capsys.readouterr().err


def test_every_file_is_looked_for(config, capsys):
    assert main(["train", "config.yaml", "mroe.yaml"]) == 2
    assert "no config file 'mroe.yaml'" in capsys.readouterr().err


def test_a_reward_can_be_taken_out_on_the_command_line(config, capsys):
    assert main(["train", "config.yaml", "--rewards.short=null", "--print_config"]) == 0
    assert list(yaml.safe_load(capsys.readouterr().out)["rewards"]) == ["right"]


def test_a_traceback_is_shown_when_asked_for(config):
    with pytest.raises(ValueError, match="unknown key"):
        main(["train", "config.yaml", "--nonsense=1", "--traceback"])


def test_print_config_shows_every_default_and_reads_back(config, capsys, tmp_path):
    assert main(["train", "config.yaml", "--rewards.short.weight=0.5", "--estimator.eps=1e-4", "--print_config"]) == 0
    printed = capsys.readouterr().out
    tree = yaml.safe_load(printed)
    assert tree["rewards"]["short"] == {
        "name": "length",
        "weight": 0.5,
        "timeout": 60.0,
        "on_failure": "abstain",
        "bounds": None,
        "max_failed_steps": 3,
        "when": None,
        "limit": 8,
        "allow_truncated": True,
    }
    assert tree["estimator"] == {
        "name": "gdpo",
        "batch_norm": True,
        "ddof": 1,
        "eps": 1e-4,
        "weighting": "constant",
        **dict.fromkeys(("batch_divisor", "group_eps", "missing", "preset")),
    }
    Path("again.yaml").write_text(printed)
    assert main(["train", "again.yaml", "--print_config"]) == 0
    assert capsys.readouterr().out == printed


def test_help_describes_the_chosen_parts(config, capsys):
    assert main(["train", "config.yaml", "--estimator.name=conditioned-grpo", "--help=all"]) == 0
    text = capsys.readouterr().out
    for option in ("--estimator.conditions", "--rewards.short.limit", "--rewards.right.column", "--training.steps"):
        assert option in text
    assert "options of the reward provider length (morl-llm" in text
    assert "--training.group_size  (int, completions; default 8, in this config 4)" in text
    assert main(["train", "--help"]) == 0
    assert "--loss.clip_low" in capsys.readouterr().out


def test_general_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in ("train CONFIG", "resume FOLDER", "plugins"))
    assert main(["--version"]) == 0


def test_plugins_lists_what_is_there(capsys):
    assert main(["plugins"]) == 0
    assert "gdpo" in capsys.readouterr().out


def test_plugins_shows_what_is_switched_off(capsys):
    assert main(["plugins", "--plugins.disable=[example, morl-math]"]) == 0
    assert capsys.readouterr().out.count("switched off") == 2


def test_a_plugin_that_is_switched_off_offers_nothing(config, capsys):
    needs = ["train", "config.yaml", "--estimator.name=rloo", "--print_config"]
    assert main(needs) == 0
    assert main([*needs, "--plugins.disable=morl-example"]) == 2
    assert "unknown advantage estimator 'rloo'" in capsys.readouterr().err
    assert main(["train", "config.yaml", "--plugins.disable=[example]", "--print_config"]) == 0
    assert "disable:\n  - example" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"]])
def test_quick_commands_import_nothing_heavy(arguments):
    code = (
        "import sys\nfrom morl.cli import main\n"
        f"main({arguments!r})\n"
        "heavy = {'torch', 'lightning', 'transformers', 'datasets', 'vllm'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["morl", "morl.advantage", "morl.loss", "morl.types"])
def test_pure_rooms_import_neither_lightning_nor_transformers(module):
    code = (
        f"import sys, {module}\nfrom morl import gdpo\n"
        "heavy = {'lightning', 'transformers', 'vllm', 'datasets', 'pluggy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("sent", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_ends_a_run_with_a_way_to_go_on(config, tiny_model, sent, code):
    shutil.copytree(tiny_model, "sound")
    Path("stop.py").write_text(
        "import os, signal\nfrom lightning.pytorch import Callback\n"
        "class Stop(Callback):\n"
        "    def on_train_batch_start(self, trainer, module, batch, index):\n"
        f"        if index == 1: os.kill(os.getpid(), signal.{sent})\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "morl", "train", "config.yaml", "--policy.path=./sound", "--training.steps=3"),
            *("--training.checkpoint_every=1", "--trainer.callbacks=[{class_path: stop.Stop}]"),
        ],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        # A shell's background jobs ignore the signal, and their children with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.returncode == code, done.stderr
    assert "morl resume run" in done.stderr
    assert "Traceback" not in done.stderr
    assert Path("run/checkpoints/step-000001.ckpt").is_file()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("train", "training.steps"),
        ("resume", "usage: morl resume FOLDER"),
        ("compare", "usage: morl compare CONFIG"),
        ("evaluate", "usage: morl evaluate CONFIG"),
        ("export", "usage: morl export RUN"),
        ("plugins", "usage: morl plugins"),
    ],
)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(capsys, command, option, says):
    assert main([command, option]) == 0
    assert says in capsys.readouterr().out


def test_every_command_of_the_table_is_in_the_usage_and_exists():
    for name, target in COMMANDS.items():
        assert f"\n  {name} " in USAGE
        assert callable(resolve_name(target))
    assert set(COMMANDS) == set(re.findall(r"^  ([\w-]+)", USAGE.partition("options:")[0], re.MULTILINE))


def test_of_a_warning_of_morl_the_text_alone_is_shown():
    shown = []

    def command(arguments):
        shown.extend(
            warnings.formatwarning("do this", UserWarning, file, 7, "code") for file in (console.__file__, __file__)
        )
        return 0

    before = warnings.formatwarning
    assert console.call(command, []) == 0
    assert shown == ["warning: do this\n", f"{__file__}:7: UserWarning: do this\n  code\n"]
    assert warnings.formatwarning is before
