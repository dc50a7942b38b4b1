"""State of parts: saved under the part's path, restored bit for bit, the same on all ranks or kept for each."""

from __future__ import annotations

import csv
import shutil
import textwrap
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from attrs import define

from morl import RewardEntry, hookimpl, train
from morl.advantage import GDPO, Conditioned
from morl.errors import PluginError
from morl.reward import RewardScorer
from morl.runtime.exchange import Exchange
from morl.runtime.parts import Parts
from morl.states import plain_state, same
from morl.training.state import load_states, save_states


@define
class Adaptive:
    """Raises the weight of what is rare, step by step, and counts how often it is told."""

    weights: torch.Tensor | None = None
    steps: int = 0

    def __call__(self, rewards):
        return rewards.weights_K if self.weights is None else self.weights

    def update(self, rewards, advantages):
        self.steps += 1
        mean_K = rewards.values_BK.nan_to_num().mean(0)
        before = rewards.weights_K if self.weights is None else self.weights
        self.weights = before * (1.5 - mean_K)

    def state_dict(self):
        return {"weights": self.weights, "steps": self.steps}

    def load_state_dict(self, state):
        self.weights, self.steps = state["weights"], state["steps"]


@define
class Remembers:
    """A reward that pays for lengths above the mean of all that it has seen."""

    total: int = 0
    number: int = 0

    def score(self, completions):
        self.total += sum(completion.length for completion in completions)
        self.number += len(completions)
        return [float(completion.length > self.total / self.number) for completion in completions]

    def state_dict(self):
        return {"total": self.total, "number": self.number}

    def load_state_dict(self, state):
        self.total, self.number = state["total"], state["number"]


class Loss:
    needs_reference, aggregation = False, "token-mean"

    def __init__(self):
        from morl.loss import ClippedLoss

        self.inner, self.seen = ClippedLoss(), torch.zeros(())

    def __call__(self, batch):
        self.seen += len(batch.rows_T)
        return self.inner(batch)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"].clone()


def run(settings, folder, resume=False, **changes):
    """A run whose estimator, reward and loss remember something."""
    weighting, reward, loss = Adaptive(), Remembers(), Loss()
    result = train(
        settings({"output": str(folder), "training.mini_batches": 1, "training.inner_epochs": 1, **changes}),
        estimator=Conditioned(GDPO(weighting=weighting), {"vowel": {"on": "short", "at_least": 0}}),
        rewards={"above": reward},
        loss=loss,
        resume=resume,
    )
    return result, (weighting, reward, loss)


def test_a_run_with_parts_that_remember_resumes_bit_for_bit(settings, weights_of, same_bits, tmp_path):
    whole, (weighting, reward, loss) = run(settings, tmp_path / "whole")
    checkpoint = torch.load(whole.folder / "checkpoints" / "step-000002.ckpt", weights_only=False)
    assert {*checkpoint["morl_states"]} == {"estimator.weighting", "rewards.above", "loss"}
    torch.save(checkpoint["morl_states"], tmp_path / "states.pt")
    plain = torch.load(tmp_path / "states.pt", weights_only=True)
    assert plain["estimator.weighting"]["states"][0]["steps"] == 2

    half = tmp_path / "half"
    shutil.copytree(whole.folder, half, ignore=shutil.ignore_patterns("step-000003*", "step-000004*", "model"))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*begins without one.*")
        resumed, parts = run(settings, half, resume=True)
    assert same_bits(weights_of(whole.model), weights_of(resumed.model))
    assert parts[0].steps == weighting.steps == 4
    assert torch.equal(parts[0].weights, weighting.weights)
    assert parts[1] == reward
    assert torch.equal(parts[2].seen, loss.seen)


@pytest.mark.parametrize("rounds", [0, 3])
def test_a_weighting_adapts_once_per_step_however_often_it_is_asked(settings, tmp_path, rounds, prompt_file):
    held_out = {"prompts": {"path": str(prompt_file), "limit": 2}, "every": 1}
    changes = {"training.dynamic_sampling_rounds": rounds, "evaluation": held_out, "training.steps": 3}
    _, (weighting, *_) = run(settings, tmp_path / "run", **changes)
    assert weighting.steps == 3


def test_the_weights_of_a_step_follow_from_the_steps_before(settings, tmp_path):
    seen = []

    class Watch(Adaptive):
        def __call__(self, rewards):
            seen.append((rewards.step, self.steps))
            return super().__call__(rewards)

    train(settings({"training.steps": 3}), estimator=GDPO(weighting=Watch()))
    assert {*seen} == {(0, 0), (1, 1), (2, 2)}


def test_a_step_is_announced_when_it_is_over(settings):
    seen, weighting = [], Adaptive()

    class Watch:
        @hookimpl
        def morl_step_finished(self, step, metrics):
            seen.append((step, weighting.steps, metrics))
            metrics.clear()

    class Reads(Watch):
        @hookimpl(trylast=True)
        def morl_step_finished(self, step, metrics):
            seen.append((step, weighting.steps, dict(metrics)))

    config = settings({"training.steps": 2})
    result = train(config, estimator=GDPO(weighting=weighting), plugins=[Reads(), Watch()])
    assert [(step, steps) for step, steps, _ in seen] == [(0, 1), (0, 1), (1, 2), (1, 2)]
    with (result.folder / "logs" / "metrics.csv").open(newline="") as file:
        logged = [row for row in csv.DictReader(file) if row["loss"]]
    for step, row in enumerate(logged):
        metrics = seen[2 * step + 1][2]
        assert metrics["loss"] == pytest.approx(float(row["loss"]))
        assert metrics["groups/with_signal"] == pytest.approx(float(row["groups/with_signal"]))


PLUGIN = """
import os, torch
from morl.hookspecs import hookimpl

class Adaptive:
    '''Raises the weight of what is rare.'''
    weights = None
    def __call__(self, rewards):
        return rewards.weights_K if self.weights is None else self.weights
    def update(self, rewards, advantages):
        mean_K = rewards.values_BK.nan_to_num().mean(0)
        self.weights = self(rewards) * (1.5 - mean_K) + FAULT * int(os.environ.get("LOCAL_RANK", 0))
    def state_dict(self):
        return {"weights": self.weights}
    def load_state_dict(self, state):
        self.weights = state["weights"]

class Remembers:
    '''Scores by what it saw: its rank's share only.'''
    total = 0
    def score(self, completions):
        self.total += sum(sum(completion.token_ids) for completion in completions)
        return [float(sum(completion.token_ids) * self.total % 7) for completion in completions]
    def state_dict(self):
        return {"total": self.total}
    def load_state_dict(self, state):
        self.total = state["total"]

@hookimpl
def morl_register_weightings():
    return {"adaptive": Adaptive}

@hookimpl
def morl_register_reward_providers():
    return {"remembers": Remembers}
"""


def plugin_on_path(folder, fault=0):
    information = folder / "morl_adaptive-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: morl-adaptive\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[morl]\nadaptive = morl_adaptive\n")
    (folder / "morl_adaptive.py").write_text(textwrap.dedent(PLUGIN).replace("FAULT", str(fault)))
    return str(folder)


TWO = {
    "training.steps": 2,
    "trainer.devices": 2,
    "trainer.strategy": "ddp",
    "estimator": {"name": "gdpo", "weighting": "adaptive"},
    "rewards.odd": {"name": "remembers"},
}


@pytest.mark.slow
def test_two_processes_resume_bit_for_bit_with_states(settings, weights_of, same_bits, tmp_path, run_cli):
    path = plugin_on_path(tmp_path / "plugin")
    done = run_cli(settings(TWO | {"output": str(tmp_path / "whole")}), tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.output
    states = torch.load(tmp_path / "whole" / "checkpoints" / "step-000001.ckpt", weights_only=False)["morl_states"]
    assert len(states["estimator.weighting"]["states"]) == 1, "the same on both"
    assert len(states["rewards.odd"]["states"]) == 2, "each its own"
    shutil.copytree(tmp_path / "whole", tmp_path / "half", ignore=shutil.ignore_patterns("step-000002.ckpt", "model"))
    done = run_cli(None, tmp_path, command=("resume", str(tmp_path / "half")), PYTHONPATH=path)
    assert done.returncode == 0, done.output
    whole, half = (weights_of(tmp_path / name / "model") for name in ("whole", "half"))
    assert same_bits(whole, half)
    last = [
        torch.load(tmp_path / name / "checkpoints" / "step-000002.ckpt", weights_only=False)["morl_states"]
        for name in ("whole", "half")
    ]
    assert same(*last)
    # The state of a reward belongs to its rank.
    shutil.rmtree(tmp_path / "half" / "model")
    command = ("resume", str(tmp_path / "half"), "--trainer.devices=1", "--training.steps=3")
    done = run_cli(None, tmp_path, command=command, PYTHONPATH=path)
    assert done.returncode == 2
    assert "has a state on each of the 2 ranks of the checkpoint, and there are 1 now" in " ".join(done.output.split())


@pytest.mark.slow
def test_a_weighting_whose_state_differs_by_rank_ends_the_run(settings, tmp_path, run_cli):
    path = plugin_on_path(tmp_path / "plugin", fault=1)
    done = run_cli(settings(TWO | {"output": str(tmp_path / "run")}), tmp_path, PYTHONPATH=path)
    assert done.returncode != 0
    text = " ".join(done.output.split())
    assert "the state of weighting 'adaptive' of morl-adaptive 1.0 is not the same on all ranks" in text


# In one process ------------------------------------------------------------------------------------------------------


def parts(weighting=None, reward=None):
    scorer = RewardScorer({"judge": RewardEntry(reward or Remembers())})
    nothing = dict.fromkeys(("registry", "backend", "policy", "prompts", "evaluation_prompts", "optimizer", "schedule"))
    return Parts(scorer=scorer, estimator=GDPO(weighting=weighting or Adaptive()), loss=None, **nothing)


def test_a_state_without_a_taker_and_a_part_without_a_state_are_told():
    saved = save_states(parts(), Exchange())
    assert {*saved} == {"estimator.weighting", "rewards.judge"}

    class Plain:
        def score(self, completions):
            return [0.0 for _ in completions]

    with pytest.warns(UserWarning, match=r"rewards.judge: nothing here has a state; the state of .*Remembers in the"):
        load_states(parts(reward=Plain()), saved, Exchange())
    with pytest.warns(UserWarning, match=r"rewards.judge: .*Remembers begins without one$"):
        load_states(parts(), {"estimator.weighting": saved["estimator.weighting"]}, Exchange())

    class Other(Adaptive):
        pass

    other = Other()
    with pytest.warns(UserWarning, match=r"estimator.weighting: .*Other begins without one; the state of .*Adaptive"):
        load_states(parts(weighting=other), saved, Exchange())
    assert other.steps == 0


def test_a_state_that_its_part_refuses_ends_the_run_by_name():
    saved = save_states(parts(), Exchange())
    saved["estimator.weighting"]["states"] = [{}]
    with pytest.raises(PluginError, match=r"estimator.weighting \(Adaptive, passed in\) refused .*KeyError: 'weights'"):
        load_states(parts(), saved, Exchange())


def test_a_state_that_cannot_be_had_is_an_error_by_name():
    class Fails(Adaptive):
        def state_dict(self):
            raise OSError("gone")

    class Odd(Adaptive):
        def state_dict(self):
            return [1]

    with pytest.raises(PluginError, match=r"\(Fails, passed in\) could not give its state: OSError: gone"):
        save_states(parts(weighting=Fails()), Exchange())
    with pytest.raises(PluginError, match=r"\(Odd, passed in\): state_dict\(\) must return a mapping; got list"):
        save_states(parts(weighting=Odd()), Exchange())


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (np.float64(1.0), r"state is a numpy.float64"),
        ({"a": [1, {2}]}, r"state\['a'\]\[1\] is a builtins.set"),
        ({"a": (1, object())}, r"state\['a'\]\[1\] is a builtins.object"),
        ({"f": len}, r"state\['f'\] is a builtins.builtin_function_or_method"),
        ({(1, 2): 3}, r"state has the key \(1, 2\)"),
        ({"a": np.zeros(2)}, r"numpy.ndarray"),
    ],
)
def test_what_would_need_foreign_code_is_refused(value, where):
    with pytest.raises(PluginError, match=f"mine: .*{where}"):
        plain_state(value, "mine")


def test_plain_states_are_copied_and_compared_bit_by_bit(tmp_path):
    tensor = torch.tensor([1.0, float("nan")], dtype=torch.bfloat16)
    state = OrderedDict(a=[1, 2.5, None, True, "x", b"y"], b=(tensor, {3: float("nan")}))
    plain = plain_state(state, "mine")
    assert same(plain, plain_state(state, "mine"))
    tensor[0] = 2.0
    assert not same(plain, plain_state(state, "mine"))
    torch.save(plain, tmp_path / "state.pt")
    assert same(torch.load(tmp_path / "state.pt", weights_only=True), plain)
    for first, second in (({"a": 1}, {"a": 1.0}), ({"a": 1}, {"b": 1}), ([1], [1, 2]), (torch.ones(1), torch.ones(2))):
        assert not same(first, second)
