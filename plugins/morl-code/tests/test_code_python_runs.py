"""A short training in which the policy, whose replies are scripted, calls Python."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import define

import morl
from morl import hookimpl
from morl.types import EncodedPrompt, RewardScores, RolloutBatch, Sampling

TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}"
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<eos>{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Two layers, 16 wide, that read bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    fast.chat_template = TEMPLATE
    folder = tmp_path / "model"
    fast.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


@define(eq=False, slots=False)
class Scripted:
    """Says what the script of a member has for the turn."""

    scripts: Sequence[Sequence[str]]

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
            script = next((script for script in self.scripts if turn and script[0] in said), None)
            texts += [(script or self.scripts[member])[turn] for member in range(n)]
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
    """Keeps what the last step was about."""

    @hookimpl
    def morl_rewards_ready(self, rollouts: RolloutBatch, scores: RewardScores) -> None:
        self.rollouts, self.scores = rollouts, scores


def call(code: str) -> str:
    return f"<tool_call>{json.dumps({'name': 'python', 'arguments': {'code': code}})}</tool_call>"


def test_a_policy_that_calls_python_is_trained(model: str, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "12 * 13?", "answer": "156"}\n')
    scripts = [
        (call("x = 12 * 13"), call("x"), "156"),
        (call("12 / 0"), "I do not know.", ""),
        ("157", "", ""),
    ]
    recorder = Recorder()
    morl.train(
        {
            "policy": {"path": model},
            "prompts": {"path": str(tmp_path / "prompts.jsonl"), "chat": True},
            "environment": {"name": "python-sandbox", "seconds": 60, "total_seconds": 120},
            "rewards": {"correct": {"name": "exact-match", "column": "answer"}},
            "estimator": {"name": "grpo"},
            "sampling": {"max_tokens": 200},
            "training": {"steps": 2, "prompts_per_step": 1, "group_size": 3, "samples_every": 0},
            "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
            "output": str(tmp_path / "run"),
        },
        plugins=[recorder],
        rollout=Scripted(scripts),
    )
    scores = dict(zip(recorder.scores.names, recorder.scores.values_BK.T.tolist(), strict=True))
    assert scores["correct"] == [1.0, 0.0, 0.0]
    assert scores["ran"][:2] == [1.0, 0.0]
    assert scores["ran"][2] != scores["ran"][2]  # missing
    told = [[message["content"] for turn in turns for message in turn.answers] for turns in recorder.rollouts.turns]
    assert told[0] == ["[no output]", "156\n"]
    assert "ZeroDivisionError" in told[1][0]
    assert told[2] == []
