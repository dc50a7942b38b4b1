"""A whole evaluation and short trainings with a tiny model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import define

import morl
from morl import hookimpl
from morl.evaluation.run import evaluate_model
from morl.types import EncodedPrompt, RewardScores, RolloutBatch, Sampling
from morl_bfcl.calls import positional
from morl_bfcl.entries import find
from morl_bfcl.environment import BFCLEnvironment

TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}"
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<eos>{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two layers, 16 wide, that read bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    fast.chat_template = TEMPLATE
    folder: Path = tmp_path_factory.mktemp("model")
    fast.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16_384,
        tie_word_embeddings=True,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


def config(model: str, **more: Any) -> dict[str, Any]:
    return {
        "policy": {"path": model},
        "prompts": {"name": "bfcl", "category": ["simple_python", "irrelevance"], "limit": 2},
        "sampling": {"max_tokens": 4},
        "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
        **more,
    }


@pytest.mark.parametrize("functions", [{}, {"functions": "tools", "tools_column": "tools"}], ids=["system", "tools"])
def test_evaluation_by_category(model: str, functions: dict[str, str]) -> None:
    """Whoever says nothing that can be read is right where no call is."""
    held_out = {"name": "bfcl", "category": ["simple_python", "irrelevance"], "limit": 2, "skip": 2, **functions}
    evaluation = evaluate_model(
        config(
            model,
            evaluation={"prompts": held_out, "samples": 1, "temperature": 0},
            rewards={"category": {"name": "bfcl-ast-by-category", "categories": ["simple_python", "irrelevance"]}},
        ),
        model,
    )
    figures = evaluation.figures.rewards
    assert {name: (figure.mean.mean, figure.scored) for name, figure in figures.items()} == {
        "simple_python": (0.0, 2),
        "irrelevance": (1.0, 2),
    }
    assert figures["irrelevance"].mean.low is not None


def test_training(model: str, tmp_path: Path) -> None:
    rewards = {"ast": {"name": "bfcl-ast"}, "format": {"name": "bfcl-format"}, "short": {"name": "length", "limit": 8}}
    training = {"steps": 2, "prompts_per_step": 2, "samples_every": 0}
    result = morl.train(config(model, output=str(tmp_path), rewards=rewards, training=training))
    assert result.rewards == ("ast", "format", "short")
    assert result.model.is_dir()


@define(eq=False, slots=False)
class Scripted:
    """Of each prompt, one completion follows the script, turn by turn; the others say that they are done."""

    replies: Sequence[str]

    def start(self, policy: object, tokenizer: Any, model_path: str) -> None:
        self._tokenizer = tokenizer

    def sync_weights(self, version: int) -> None:
        self._version = version

    def close(self) -> None:
        pass

    def generate(
        self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> RolloutBatch:
        texts = []
        for prompt in prompts:
            said = self._tokenizer.decode(prompt.token_ids)
            turn = said.count("<assistant> ") - 1
            follows = turn == 0 or "<tool_call>" in said
            texts += [self.replies[turn] if follows and member == 0 else "Done." for member in range(n)]
        ids = [torch.tensor(self._tokenizer.encode(text + "<eos>")) for text in texts]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-1)
        return RolloutBatch(
            prompts=tuple(prompts),
            group_ids_B=torch.arange(len(prompts)).repeat_interleave(n),
            completion_ids_BT=padded.clamp(min=0),
            completion_mask_BT=padded >= 0,
            rollout_logprobs_BT=torch.zeros(padded.shape),
            truncated_B=torch.zeros(len(texts), dtype=torch.bool),
            texts=tuple(texts),
            weights_versions_B=torch.full((len(texts),), self._version),
        )


class Recorder:
    """Keeps the scores of the last step."""

    @hookimpl
    def morl_rewards_ready(self, rollouts: RolloutBatch, scores: RewardScores) -> None:
        self.rollouts, self.scores = rollouts, scores


def test_training_on_a_conversation(model: str, tmp_path: Path) -> None:
    """The reference answer solves the task, and silence does not."""
    entry = find("multi_turn_base_1")
    replies = []
    for calls in entry.answer or []:
        made = [positional(text) for text in calls]
        blocks = [json.dumps({"name": name, "arguments": dict(named)}) for name, _, named in made]
        replies += ["".join(f"<tool_call>{block}</tool_call>" for block in blocks), "Done."]
    recorder = Recorder()
    changes = {
        "prompts": {"name": "bfcl", "category": "multi_turn_base", "functions": "tools", "skip": 1, "limit": 1},
        "environment": {"name": "bfcl", "weight": {"failed": -1.0}},
        "rewards": {},
        "estimator": {"name": "grpo"},
        "sampling": {"max_tokens": 400},
        "training": {"steps": 2, "prompts_per_step": 1, "group_size": 2, "samples_every": 0},
        "output": str(tmp_path),
    }
    morl.train(config(model, **changes), plugins=[recorder], rollout=Scripted(replies))
    names = recorder.scores.names
    assert names == BFCLEnvironment.reward_names
    solved, silent = (dict(zip(names, row, strict=True)) for row in recorder.scores.values_BK.tolist())
    assert math.isnan(solved.pop("quiet"))
    assert solved == {"solved": 1.0, "state": 1.0, "response": 1.0, "failed": 0.0}
    assert (silent["solved"], silent["state"], silent["response"]) == (0.0, 0.0, 0.0)
    assert recorder.rollouts.statuses == ("completed", "completed")
