"""Keys of TRL, verl and Lightning are answered with morl's: in a file, on the command line, from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from morl import train
from morl.cli import main
from morl.errors import ConfigError

CONFIG = {
    "policy": {"path": "model"},
    "prompts": {"path": "prompts.jsonl"},
    "rewards": {"short": {"name": "length", "limit": 8}},
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("config.yaml")
    path.write_text(yaml.safe_dump(CONFIG))
    return path


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--learning_rate=1e-6", "TRL's learning_rate is optimizer.lr"),
        ("--num-generations=8", "TRL's num_generations is training.group_size"),
        ("--use_vllm", "--use_vllm needs a value: --use_vllm=VALUE; TRL's use_vllm is rollout.name"),
        ("--deepspeed=zero3.json", "TRL's deepspeed is not offered: `fsdp2` shards instead"),
        ("--logging_steps=1", "TRL's logging_steps is no setting: every step"),
        ("--training.num_generations=8", "TRL's num_generations is training.group_size"),
        ("--algorithm.adv_estimator=grpo", "verl's algorithm.adv_estimator is estimator.name"),
        ("--actor_rollout_ref.rollout.n=8", "verl's actor_rollout_ref.rollout.n is training.group_size"),
        ("--data.train_batch_size=512", "verl's data.train_batch_size is training.prompts_per_step"),
        ("--actor_rollout_ref.actor.fsdp_config.param_offload=true", "is verl's, and nothing stands for it"),
        ("--max_epochs=3", "Lightning's max_epochs is training.epochs: rounded up to whole steps"),
        ("--trainer.max_epochs=3", "Lightning's max_epochs is training.epochs"),
        ("--trainer.total_epochs=3", "verl's trainer.total_epochs is training.epochs"),
        ("--devices=2", "Lightning's devices is trainer.devices"),
        # Names of morl's own in the wrong place, and in the right one with a typo.
        ("--lr=1e-6", "unknown key 'lr'; did you mean 'optimizer.lr'?"),
        ("--group_size=8", "unknown key 'group_size'; did you mean 'training.group_size'?"),
        ("--training.seed=8", "TRL's seed is seed"),
        ("--training.lr=1e-6", "unknown key 'training.lr'; did you mean 'optimizer.lr'?"),
        ("--rollout.max_tokens=8", "unknown key 'rollout.max_tokens'; did you mean 'sampling.max_tokens'?"),
        ("--training.max_steps=8", "TRL's max_steps is training.steps: rollout batches, not optimizer steps"),
        ("--training.save_steps=8", "TRL's save_steps is training.checkpoint_every"),
        # Names that are usual, and the ends of verl's.
        ("--batch_size=8", "batch_size is training.prompts_per_step here: prompts, each of which gets"),
        ("--training.ppo_epochs=2", "ppo_epochs is training.inner_epochs here"),
        ("--ppo_max_token_len_per_gpu=9", "ppo_max_token_len_per_gpu is training.micro_batch_tokens"),
        ("--prompts.prompt_column=question", "prompt_column is prompts.prompt here"),
        ("--evaluation.steps=8", "steps is evaluation.every here"),
        ("--rewards.short.fn=x", "fn is rewards.short.function here: of the reward `python`"),
        ("--policy.lora.r=8", "r is policy.lora.rank here"),
        # Options of another part, of the same kind.
        ("--loss.max_ratio=3", "unknown key 'loss.max_ratio'; it is an option of the policy loss 'cispo'"),
        ("--rewards.short.nonsense=x", "unknown key 'rewards.short.nonsense'\n"),
    ],
)
def test_a_foreign_option_is_answered_with_morls(config, capsys, argument, says):
    assert main(["train", str(config), argument]) == 2
    assert says in capsys.readouterr().err


def test_all_foreign_keys_of_a_file_are_answered_at_once(config, capsys):
    moved = {
        "num_generations": 8,
        "per_device_train_batch_size": 4,
        "algorithm": {"gamma": 1.0, "adv_estimator": "grpo"},
    }
    config.write_text(yaml.safe_dump({**CONFIG, **moved}))
    assert main(["train", str(config)]) == 2
    error = capsys.readouterr().err
    for key in (
        "training.group_size",
        "training.micro_batch_tokens",
        "algorithm.gamma is not offered",
        "estimator.name",
    ):
        assert key in error
    assert "it counts completions of a device" in error
    assert len(error.splitlines()) == 6, "one line that it has begun, the key, four answers"


def test_so_they_are_from_python(config):
    with pytest.raises(ConfigError, match=r"TRL's num_generations is training\.group_size"):
        train({**CONFIG, "training": {"num_generations": 8}})


@pytest.mark.parametrize("command", [["compare"], ["diagnose"], ["evaluate"]])
def test_commands_with_options_of_their_own_answer_too(config, capsys, command):
    arguments = [*command, str(config), *(["model"] if command == ["evaluate"] else []), "--learning_rate=1"]
    assert main(arguments) == 2
    assert "unknown option --learning_rate; TRL's learning_rate is optimizer.lr" in capsys.readouterr().err
