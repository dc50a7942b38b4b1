"""Conversations, a judge over HTTP, an isolated reward and parts that remember, on one, two and four ranks."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from judging import JudgeServer

from morl.states import same

pytestmark = pytest.mark.slow
pytest.importorskip("morl_judge", reason="the plugin morl-judge is not installed")

ROUNDING = 1e-4
"""As in `test_run.py`."""

PLUGIN = """
import torch
from morl.hookspecs import hookimpl
from morl.types import EnvironmentAnswer

class Episode:
    messages = ({"role": "user", "content": "begin"},)

    def __init__(self, turns):
        self.left, self.words = turns, 0

    def step(self, reply):
        self.left, self.words = self.left - 1, self.words + len(reply["content"])
        said = [{"role": "user", "content": f"{self.left} left, {self.words} letters"}] if self.left else []
        return EnvironmentAnswer(said, done=not self.left, rewards={"letters": float(self.words % 5)})

    def close(self):
        pass

class Countdown:
    '''Speaks as often as the seed has it, and adds up the seeds that its rank has seen.'''
    reward_names = ("letters",)
    seen = 0

    def open(self, prompt, seed):
        self.seen += seed % 1009
        return Episode(1 + seed % 3)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]

class Adaptive:
    '''Raises the weight of what is rare.'''
    weights = None

    def __call__(self, rewards):
        return rewards.weights_K if self.weights is None else self.weights

    def update(self, rewards, advantages):
        # In float64, and rounded, so that the order of ranks cannot show.
        self.weights = (self(rewards) * (1.5 - rewards.values_BK.nan_to_num().mean(0) / 20)).round(decimals=6)

    def state_dict(self):
        return {"weights": self.weights}

    def load_state_dict(self, state):
        self.weights = state["weights"]

@hookimpl
def morl_register_environments():
    return {"countdown": Countdown}

@hookimpl
def morl_register_weightings():
    return {"adaptive": Adaptive}
"""
REWARD = """
def vowels(completions, **columns):
    return [float(sum(letter in "aeiou" for letter in chat[-1]["content"])) for chat in completions]
"""
TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


@pytest.fixture(scope="module")
def judge() -> Iterator[JudgeServer]:
    server = JudgeServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder on the path of the ranks: the plugin, the isolated reward, prompts and their template."""
    folder = tmp_path_factory.mktemp("everything")
    information = folder / "morl_everything-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: morl-everything\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[morl]\neverything = morl_everything\n")
    (folder / "morl_everything.py").write_text(PLUGIN)
    (folder / "isolated.py").write_text(REWARD)
    (folder / "template.jinja").write_text(TEMPLATE)
    rows = [{"prompt": f"the answer is {n}"} for n in range(20)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def everything(settings, place, judge):
    """`everything(output, ranks, strategy)`: the config of such a run."""

    def make(output, ranks, strategy="ddp"):
        return settings(
            {
                "output": str(output),
                "prompts": {
                    "path": str(place / "prompts.jsonl"),
                    "chat": True,
                    "chat_template": str(place / "template.jinja"),
                },
                "rewards": {
                    "vowels": {
                        "name": "python",
                        "function": f"{place / 'isolated.py'}:vowels",
                        "isolate": "process",
                        "on_failure": "raise",
                    },
                    "quality": judge.section(on_failure="raise"),
                },
                "environment": {"name": "countdown", "patience": None, "on_failure": "raise"},
                "estimator": {"name": "gdpo", "weighting": "adaptive"},
                "sampling": {"max_tokens": 6, "stop_token_ids": [*range(0, 290, 5)]},
                "optimizer": {"lr": 3e-3, "eps": 1e-3},
                "training.steps": 2,
                "training.prompts_per_step": 4,
                "training.group_size": 3,
                "trainer.devices": ranks,
                "trainer.strategy": strategy if ranks > 1 else "auto",
            }
        )

    return make


@pytest.fixture
def run(everything, place, tmp_path, run_cli):
    """`run(name, ranks, strategy)`: the folder of a run with so many ranks."""

    def start(name, ranks, strategy="ddp"):
        done = run_cli(everything(tmp_path / name, ranks, strategy), tmp_path, PYTHONPATH=str(place))
        assert done.returncode == 0, done.output
        return tmp_path / name

    return start


def figures(folder):
    """What a run says of its rewards and conversations, step by step."""
    with (folder / "logs" / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["loss"]]
    prefixes = ("reward/", "conversation/turns", "advantage/")
    return [{name: float(value) for name, value in row.items() if name.startswith(prefixes) and value} for row in rows]


def states(folder, step=2):
    checkpoint = folder / "checkpoints" / f"step-{step:06d}.ckpt"
    if checkpoint.is_dir():
        checkpoint = checkpoint / "meta.pt"
    return torch.load(checkpoint, weights_only=False)["morl_states"]


def test_ranks_end_where_one_process_does(run, difference):
    one = run("one", 1)
    assert len(states(one)["environment"]["states"]) == 1
    turns = [value for row in figures(one) for name, value in row.items() if name.startswith("conversation/turns")]
    assert max(turns) > 1, "some conversations have several turns"
    for name, ranks, strategy in (("ddp-2", 2, "ddp"), ("ddp-4", 4, "ddp"), ("fsdp2-2", 2, "fsdp2")):
        several = run(name, ranks, strategy)
        assert difference(one / "model", several / "model") < ROUNDING, name
        for alone, together in zip(figures(one), figures(several), strict=True):
            assert together == pytest.approx(alone, rel=1e-5, abs=1e-7), name
        seen = [state["seen"] for state in states(several)["environment"]["states"]]
        assert len(seen) == ranks
        assert sum(seen) == states(one)["environment"]["states"][0]["seen"]


def test_parts_that_remember_resume_bit_for_bit_when_sharded(run, place, run_cli, tmp_path, weights_of, same_bits):
    whole = run("whole", 2, "fsdp2")
    half = tmp_path / "half"
    shutil.copytree(whole, half, ignore=shutil.ignore_patterns("step-000002*", "model"))
    done = run_cli(None, tmp_path, command=("resume", str(half)), PYTHONPATH=str(place))
    assert done.returncode == 0, done.output
    assert same_bits(weights_of(whole / "model"), weights_of(half / "model"))
    assert same(states(whole), states(half))
    assert states(half)["estimator.weighting"]["states"][0]["weights"].isfinite().all()
    assert figures(whole) == figures(half)
