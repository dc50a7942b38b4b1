"""Parts within parts, and options that bear the name of a key of morl's, from the config to `config.yaml` and back."""

from __future__ import annotations

import shutil

import pytest
import yaml
from attrs import field, frozen

from morl import Prompt, hookimpl, train
from morl.config.load import parse, to_mapping
from morl.plugins import Registry


@frozen
class Scaled:
    """Multiplies the weights.

    Args:
        factors: by reward name.
        steps: until the factors are in force.
    """

    factors: dict[str, float] = field(factory=dict)
    steps: int = 0

    def __call__(self, rewards):
        weights_K = rewards.weights_K
        if rewards.step >= self.steps:
            for name, factor in self.factors.items():
                weights_K[rewards.names.index(name)] *= factor
        return weights_K


@frozen
class Staircase:
    """Halves the learning rate.

    Args:
        every: so many steps.
    """

    every: int = 1

    def __call__(self, step, steps):
        return 0.5 ** (step // self.every)


@frozen
class Fences:
    """A reward that has an option of its own called bounds.

    Args:
        bounds: texts that a completion may hold.
    """

    bounds: tuple[str, ...] = ("a",)

    def score(self, completions):
        return [float(any(text in completion.text for text in self.bounds)) for completion in completions]


class Plugin:
    @hookimpl
    def morl_register_weightings(self):
        return {"scaled": Scaled}

    @hookimpl
    def morl_register_schedules(self):
        return {"staircase": Staircase}

    @hookimpl
    def morl_register_reward_providers(self):
        return {"fences": Fences}


CHANGES = {
    "estimator": {"name": "gdpo", "weighting": {"name": "scaled", "factors": {"short": 2.0}, "steps": 1}},
    "optimizer.schedule": {"name": "staircase", "every": 2},
    "rewards.fences": {"name": "fences", "bounds": ["a", "e"]},
}


def test_options_of_nested_parts_come_back_from_the_run_folder(settings, weights_of, same_bits, tmp_path):
    config = settings({**CHANGES, "output": str(tmp_path / "whole")})
    whole = train(config, plugins=[Plugin()])
    written = yaml.safe_load((whole.folder / "config.yaml").read_text())
    assert written["estimator"]["weighting"] == CHANGES["estimator"]["weighting"]
    assert written["optimizer"]["schedule"] == CHANGES["optimizer.schedule"]
    assert list(written["rewards"]["fences"]["bounds"]) == ["a", "e"]
    registry = Registry([Plugin()])
    assert to_mapping(parse(written, registry)) == written

    shutil.copytree(
        whole.folder, tmp_path / "half", ignore=shutil.ignore_patterns("step-000003*", "step-000004*", "model")
    )
    resumed = train({**written, "output": str(tmp_path / "half")}, plugins=[Plugin()], resume=True)
    assert same_bits(weights_of(whole.model), weights_of(resumed.model))


def test_what_is_left_out_has_its_default(settings):
    changes = {"estimator": {"name": "gdpo", "weighting": "scaled"}, "rewards.fences": {"name": "fences"}}
    config = parse(settings(changes), Registry([Plugin()]))
    assert list(config.rewards["fences"].options["bounds"]) == ["a"]
    assert config.rewards["fences"].bounds is None, "the option is the factory's"


class Stateful:
    """A prompt source whose prompts remember how often a run has been saved: `load` comes before its state."""

    def __init__(self):
        self.saved = 0
        self.seen = []

    def load(self):
        return [Prompt(f"the answer is {n}", {"source": [self]}) for n in range(8)]

    def state_dict(self):
        self.saved += 1
        return {"saved": self.saved}

    def load_state_dict(self, state):
        self.saved = state["saved"]


@pytest.mark.parametrize("step", [2, 3])
def test_the_state_of_a_prompt_source_is_there_before_its_prompts_are_used(settings, tmp_path, step):
    sources, seen = [], []

    def make():
        sources.append(Stateful())
        return sources[-1]

    class Source:
        @hookimpl
        def morl_register_prompt_sources(self):
            return {"stateful": make}

        @hookimpl
        def morl_rollouts_ready(self, step, rollouts):
            seen.append((step, sources[-1].saved))

    config = settings({"output": str(tmp_path / "run"), "prompts": {"name": "stateful"}})
    result = train(config, plugins=[Source()])
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3)]
    shutil.rmtree(result.model)
    for path in (result.folder / "checkpoints").iterdir():
        if int(path.name[5:11]) > step:
            path.unlink()
    seen.clear()
    train(config, plugins=[Source()], resume=True)
    assert len(sources) == 2
    assert seen == [(number, number) for number in range(step, 4)]
