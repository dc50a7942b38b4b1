"""morl's estimators in the real TRL: the same training through the preset, and the traps."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attrs import define, evolve
from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import AutoTokenizer

from morl.advantage import GDPO, GRPO, Conditioned
from morl.errors import ConfigError
from morl.integrations import estimator
from morl.integrations.matrix import Seam, asked
from morl.integrations.trl import STATE, with_estimator
from morl.types import RewardMatrix

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'morl-llm[trl]'")
SCRIPT = Path(__file__).with_name("trl_run.py")
_specification = importlib.util.spec_from_file_location("trl_run", SCRIPT)
trl_run = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(trl_run)


@pytest.mark.slow
def test_training_through_the_preset_ends_at_the_weights_of_trl(tiny_model, tmp_path):
    names = ("grpo", "grpo-batch", "gdpo", "gdpo-again")
    for name, (gap, moved) in trl_run.gaps(str(tiny_model), str(tmp_path), *names).items():
        assert gap < 1e-6 < 1e-3 < moved, name


@pytest.mark.slow
def test_two_ranks_that_share_a_group_end_at_the_weights_of_trl(tiny_model, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, str(SCRIPT), str(tiny_model), str(tmp_path), "gdpo"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("GAPS")] or [done.stderr[-3000:]]
    gap, moved = json.loads(line.removeprefix("GAPS"))["gdpo"]
    assert gap < 1e-6 < 1e-3 < moved


@define
class Growing:
    """A weighting that remembers how many steps it was shown, and what it saw of each."""

    shown: int = 0

    def __call__(self, rewards):
        assert rewards.lengths_B.shape == (len(rewards.values_BK),)
        assert int(rewards.lengths_B.min()) >= 1
        return rewards.weights_K * (1 + self.shown)

    def update(self, rewards, advantages):
        assert rewards.step == self.shown
        self.shown += 1

    def state_dict(self):
        return {"shown": self.shown}

    def load_state_dict(self, state):
        self.shown = state["shown"]


@pytest.mark.slow
def test_a_weighting_adapts_in_training_only_and_its_state_goes_through_checkpoints(tiny_model, tmp_path):
    weighting = Growing()
    made = with_estimator(trl.GRPOTrainer, GDPO(weighting=weighting))
    running = trl_run.built(made, str(tiny_model), str(tmp_path), max_steps=2, save_strategy="steps", save_steps=2)
    running.train()
    assert weighting.shown == 2
    running.evaluate()
    assert weighting.shown == 2
    assert torch.load(tmp_path / "checkpoint-2" / STATE)["weighting"] == {"shown": 2}

    shares = [entry for entry in running.state.log_history if "advantages/even/share" in entry]
    assert all(abs(e["advantages/even/share"] + e["advantages/spread/share"] - 1) < 1e-6 for e in shares)
    assert any("eval_advantages/even/share" in entry for entry in running.state.log_history)

    other = Growing()
    resumed = trl_run.built(
        with_estimator(trl.GRPOTrainer, GDPO(weighting=other)), str(tiny_model), str(tmp_path), max_steps=3
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert other.shown == 3


@pytest.mark.slow
def test_two_functions_of_one_name_are_told_apart_and_advantages_are_those_of_the_estimator(tiny_model, tmp_path):
    several = lambda completion_ids, **_: [float(len(set(ids))) for ids in completion_ids]  # noqa: E731
    first = lambda completion_ids, **_: [float(ids[0] % 3) for ids in completion_ids]  # noqa: E731
    seen = []

    class Spy(trl.GRPOTrainer):
        def _compute_loss(self, model, inputs):
            seen.append(inputs["advantages"].clone())
            return super()._compute_loss(model, inputs)

    estimator = Conditioned(GDPO(eps=0), {"<lambda>_2": {"on": "<lambda>", "at_least": 5}})
    kept = []
    made = with_estimator(Spy, lambda matrix: kept.append(matrix) or estimator(matrix))
    running = trl_run.built(made, str(tiny_model), str(tmp_path), (several, first), max_steps=1)
    running.train()
    (matrix,) = kept
    assert matrix.names == ("<lambda>", "<lambda>_2")
    assert matrix.weights == {"<lambda>": 1.0, "<lambda>_2": 0.5}
    (advantages_B,) = seen
    expected_B = estimator(matrix).values_B
    assert sorted(advantages_B.tolist()) == sorted(expected_B.tolist())  # TRL shuffles the batch
    assert expected_B.any()
    assert list(running._logs["advantages"]) == expected_B.tolist()


class Lamp:
    """An environment of TRL's that owns a reward, which becomes a column while the trainer is made."""

    def reset(self, **row):
        self.seen = len(row["prompt"][-1]["content"])

    def switch(self) -> str:
        """Switches the lamp."""
        return "on"

    def get_reward(self):
        return float(self.seen % 2) + 0.25


@pytest.mark.slow
def test_the_column_that_an_environment_adds_late_is_seen_with_its_name(tiny_model, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    kept = []
    made = with_estimator(trl.GRPOTrainer, lambda matrix: kept.append(matrix) or GDPO()(matrix))
    chats = [[{"role": "user", "content": text}] for text in trl_run.PROMPTS * 3]
    running = made(
        model=str(tiny_model),
        args=trl_run.settings(str(tmp_path), max_steps=1),
        reward_funcs=[trl_run.even, trl_run.spread],
        train_dataset=Dataset(InMemoryTable.from_pydict({"prompt": chats}), fingerprint="chats"),
        processing_class=tokenizer,
        environment_factory=Lamp,
    )
    running.train()
    (matrix,) = kept
    assert matrix.names == ("even", "spread", "Lamp")
    assert matrix.weights == {"even": 1.0, "spread": 0.5, "Lamp": 1.0}
    assert {*matrix.values_BK[:, 2].tolist()} <= {0.25, 1.25}
    assert any("advantages/Lamp/share" in entry for entry in running.state.log_history)


def test_an_estimator_of_turns_is_refused_for_trl_does_not_say_where_they_lie():
    for chosen in ("turn-level", estimator("turn-level", conditions={"a": {"on": "b"}})):
        with pytest.raises(ConfigError, match="TurnLevel gives advantages to turns, and TRL does not say where"):
            with_estimator(trl.GRPOTrainer, chosen)
    with pytest.raises(ConfigError, match="and slime does not say where the turns of a completion lie"):
        Seam("slime", estimator("turn-level"))


def test_advantages_of_tokens_are_refused_for_their_means_alone_would_arrive():
    rewards = RewardMatrix(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 0]), ("a",))

    def by_token(matrix):
        answer = GDPO()(matrix)
        return evolve(answer, values_BT=answer.values_B[:, None].expand(2, 3))

    with pytest.raises(ConfigError, match=r"TRL: .*by_token.* gives advantages to tokens, of which only the means"):
        asked(by_token, rewards, "TRL")


def refused(tiny_model, tmp_path, estimator, **settings):
    with pytest.raises(ConfigError) as error:
        trl_run.built(with_estimator(trl.GRPOTrainer, estimator), str(tiny_model), str(tmp_path), **settings)
    return str(error.value)


@pytest.mark.slow
def test_what_cannot_work_is_refused_when_the_trainer_is_made(tiny_model, tmp_path):
    unknown = Conditioned(GRPO(), {"spraed": {"on": "even"}})
    assert "unknown reward 'spraed'; did you mean 'spread'" in refused(tiny_model, tmp_path, unknown)
    said = refused(tiny_model, tmp_path, GRPO(), multi_objective_aggregation="normalize_then_sum")
    assert said.startswith("multi_objective_aggregation='normalize_then_sum' chooses TRL's own advantages")


def test_a_trainer_class_without_the_seam_is_refused():
    class Other:
        def _calculate_rewards(self): ...

    with pytest.raises(ConfigError, match="Other has no _generate_and_score_completions; with_estimator is for"):
        with_estimator(Other, GRPO())

    class Replay(trl.GRPOTrainer):
        def _generate_and_score_completions(self, inputs): ...

    with pytest.raises(ConfigError, match=r"Replay gets _generate_and_score_completions from .*Replay, which may use"):
        with_estimator(Replay, GRPO())
    with pytest.raises(ConfigError, match="RLOOTrainer"):
        with_estimator(trl.RLOOTrainer, GRPO())


def test_an_estimator_may_be_named():
    assert with_estimator(trl.GRPOTrainer, "gdpo").__name__ == "GRPOTrainerWithEstimator"
