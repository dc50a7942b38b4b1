"""How a run ends before its time, and how it is resumed."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import lightning.pytorch as L
import pytest
from transformers import AutoModelForCausalLM

from morl import RewardEntry, RewardError, RolloutError, train
from morl.artifacts.files import remove
from morl.artifacts.folder import RunFolder
from morl.rollout.transformers import TransformersBackend
from morl.training import run_folder


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training.dynamic_sampling_rounds": 3},
        {"loss.kl_coef": 0.1},
        {"policy.lora": {"rank": 2, "dropout": 0.0}, "loss.kl_coef": 0.1},
        {"policy.lora": {"rank": 2, "dora": True, "modules_to_save": ["norm"]}, "loss.kl_coef": 0.1},
        {"policy.dtype": "bfloat16"},
        {
            "loss.kl_coef": 0.5,
            "reference.sync_every": 1,
            "reference.mixup": 0.3,
            "loss.top_entropy": 0.5,
            "entropy.coef": 0.1,
            "entropy.target": 20.0,
            "entropy.delta": 0.05,
        },
    ],
    ids=["plain", "dynamic-sampling", "reference", "lora", "dora", "bfloat16", "moving"],
)
def test_a_run_resumed_after_any_step_ends_bit_identical(settings, weights_of, tmp_path, changes, rows_of, same_bits):
    whole = train(settings(changes))
    expected = weights_of(whole.model)
    for step in (1, 2, 3):
        resumed = tmp_path / f"resumed-{step}"
        shutil.copytree(whole.folder, resumed)
        shutil.rmtree(resumed / "model")
        for checkpoint in (resumed / "checkpoints").glob("*.ckpt"):
            if int(checkpoint.stem.removeprefix("step-")) > step:
                checkpoint.unlink()
        result = train(settings(changes | {"output": str(resumed)}), resume=True)
        assert same_bits(weights_of(result.model), expected)
        assert [row["step"] for row in rows_of(result)] == ["1", "2", "3", "4"], "no step is logged twice or lost"


def test_a_finished_run_goes_on_for_more_steps(settings, weights_of, tmp_path, same_bits):
    changes = {"optimizer.schedule": "constant"}
    whole = train(settings(changes | {"training.steps": 5}))
    short = {"output": str(tmp_path / "short")}
    train(settings(changes | short))
    longer = train(settings(changes | short | {"training.steps": 5}), resume=True)
    assert same_bits(weights_of(whole.model), weights_of(longer.model))


@pytest.mark.slow
def test_a_killed_process_resumes_bit_identical(settings, weights_of, tmp_path, same_bits, run_cli):
    whole = train(settings())
    killer = tmp_path / "killer.py"
    killer.write_text(
        "import os\nfrom lightning.pytorch import Callback\n"
        "class Killer(Callback):\n"
        "    def on_train_batch_start(self, trainer, module, batch, index):\n"
        "        if int(module.finished_steps) == 2: os._exit(9)\n"
    )
    killed = settings({"output": str(tmp_path / "killed"), "trainer.callbacks": [{"class_path": "killer.Killer"}]})
    done = run_cli(killed, tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 9, done.output
    resumed = train(settings({"output": str(tmp_path / "killed")}), resume=True)
    assert same_bits(weights_of(whole.model), weights_of(resumed.model))


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "lag"), [("ddp", 0), ("fsdp2", 0), ("ddp", 1), ("fsdp2", 1)])
def test_two_processes_resume_bit_identical(settings, weights_of, tmp_path, strategy, lag, same_bits, run_cli):
    changes = {"training.steps": 2, "trainer.devices": 2, "trainer.strategy": strategy, "rollout.lag": lag}
    assert run_cli(settings(changes | {"output": str(tmp_path / "whole")}), tmp_path).returncode == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "half", ignore=shutil.ignore_patterns("step-000002.ckpt", "model"))
    done = run_cli(None, tmp_path, command=("resume", str(tmp_path / "half")))
    assert done.returncode == 0, done.output
    whole, half = (weights_of(tmp_path / name / "model") for name in ("whole", "half"))
    assert same_bits(whole, half)


@pytest.mark.parametrize("stop", [RewardError("judge is gone"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_finished_steps_outlive_a_failure_between_updates(settings, weights_of, tmp_path, stop, rows_of, same_bits):
    changes = {"training.checkpoint_every": 0}
    expected = weights_of(train(settings(changes), rewards={"judge": Judge()}).model)
    stopped = settings({**changes, "output": str(tmp_path / "stopped")})
    with pytest.raises((RewardError, SystemExit, KeyboardInterrupt)):
        train(stopped, rewards={"judge": RewardEntry(Judge(at_call=3, raises=stop), on_failure="raise")})
    assert [path.name for path in (tmp_path / "stopped" / "checkpoints").glob("*.ckpt")] == ["step-000002.ckpt"]
    resumed = train(stopped, rewards={"judge": Judge()}, resume=True)
    assert same_bits(weights_of(resumed.model), expected)
    assert [row["step"] for row in rows_of(resumed)] == ["1", "2", "3", "4"]


class Judge:
    """Scores by length; raises something at one of its calls."""

    def __init__(self, at_call=None, raises=None):
        self.calls, self.at_call, self.raises = 0, at_call, raises

    def score(self, completions):
        self.calls += 1
        if self.calls == self.at_call:
            if isinstance(self.raises, KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
                time.sleep(5)
            raise self.raises
        return [float(completion.length) for completion in completions]


class NeedsMemory(TransformersBackend):
    memory = False

    def start(self, *args):
        if not self.memory:
            raise RolloutError("no memory")
        super().start(*args)


def test_a_run_that_could_not_begin_leaves_its_folder_free(settings):
    backend, config = NeedsMemory(), settings({"training.steps": 1})
    with pytest.raises(RolloutError, match="no memory"):
        train(config, rollout=backend)
    assert not Path(config["output"]).exists()
    backend.memory = True
    assert train(config, rollout=backend).model.is_dir()


class EndsAfterOneStep(L.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        trainer.should_stop = True


def test_a_run_that_a_callback_ends_early_is_whole_and_goes_on(settings, prompt_file):
    changes = {
        "evaluation": {"prompts": {"path": str(prompt_file), "limit": 4}},
        "training.checkpoint_every": 0,
        "training.samples_every": 2,
    }
    result = train(settings(changes), callbacks=[EndsAfterOneStep()])
    assert sorted(result.evaluations) == [0, 1]
    assert [path.name for path in (result.folder / "checkpoints").glob("*.ckpt")] == ["step-000001.ckpt"]
    assert AutoModelForCausalLM.from_pretrained(result.model)
    result = train(settings(changes), resume=True)
    assert sorted(result.evaluations) == [0, 1, 4]
    assert sorted(path.name for path in (result.folder / "samples").glob("step-*")) == [
        "step-000001.jsonl",
        "step-000003.jsonl",
        "step-000004.jsonl",
    ]


def test_a_run_killed_before_its_model_was_written_can_be_finished(settings, weights_of, rows_of, same_bits):
    result = train(settings())
    expected = weights_of(result.model)
    shutil.rmtree(result.model)
    again = train(settings(), resume=True)
    assert same_bits(weights_of(again.model), expected)
    assert [row["step"] for row in rows_of(again)] == ["1", "2", "3", "4"]


def test_half_written_sharded_checkpoints_are_passed_over(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (1, 2):
        (folder.checkpoints / f"step-{step:06d}.ckpt").mkdir(parents=True)
    (folder.checkpoints / "step-000001.ckpt" / "meta.pt").touch()
    assert folder.latest_checkpoint().name == "step-000001.ckpt"


@pytest.mark.parametrize(
    "left", [["config.history"], [".config.yaml.draft", "config.history"], [".config.history.draft"], [".best.draft"]]
)
def test_a_run_that_was_killed_before_its_config_was_written_begins_again(settings, left):
    config = settings({"training.steps": 1})
    folder = RunFolder(Path(config["output"]))
    folder.path.mkdir()
    for name in left:
        (folder.path / name).write_text("- half")
    result = train(config)
    assert result.model.is_dir()
    assert not any((folder.path / name).exists() for name in left if name.endswith(".draft"))


def test_a_run_that_is_killed_while_it_is_taken_back_is_still_a_run(settings, monkeypatch):
    """At any of the removals: what is left has its config, or is nothing at all."""
    config = settings({"training.steps": 1})
    folder = RunFolder(Path(config["output"]))
    for at in range(1, len(folder.entries) + 1):
        folder.path.mkdir()
        for path in folder.entries:
            path.write_text("of a run") if path.suffix else path.mkdir()
        count = iter(range(1, 99))

        def killed(path, at=at, count=count):
            if next(count) == at:
                raise KeyboardInterrupt
            remove(path)

        monkeypatch.setattr(run_folder, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            run_folder.discard(folder)
        assert folder.config.exists()
        remove(folder.path)
