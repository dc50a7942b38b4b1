"""What is passed to `morl.train`: data, functions, models; and what the run folder says of it afterwards."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

import morl
import morl.loss
from morl import ConfigError, DataError, Prompt, RewardEntry, train
from morl.config.load import parse
from morl.config.record import describe, writable
from morl.plugins import Registry
from morl.rollout.transformers import TransformersBackend

ROWS = [{"question": f"say {word}", "answer": word} for word in ("one", "two", "three", "four", "five", "six")]


def spaces(completions, answer, **columns):
    return [float(" " in text) for text in completions]


def brief(completions, **columns):
    return [float(len(text) < 20) for text in completions]


@pytest.fixture
def one_step(settings):
    def make(changes=None, *without):
        config = settings(
            {"training.steps": 1, "training.mini_batches": 1, "training.inner_epochs": 1, **(changes or {})}
        )
        return {key: value for key, value in config.items() if key not in without}

    return make


def recorded(result) -> dict:
    return yaml.safe_load((result.folder / "config.yaml").read_text())


# Data -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["list", "Dataset"])
def test_rows_become_prompts_as_the_section_says(one_step, kind):
    from datasets import Dataset

    rows = ROWS if kind == "list" else Dataset.from_list(ROWS)
    config = one_step({"prompts": {"prompt": "question", "chat": True}, "evaluation": {"prompts": {"limit": 2}}})
    seen = []

    def looked_at(prompts, completions, answer, **columns):
        seen.extend(zip(prompts, answer, strict=True))
        return [0.0 if index % 2 else 1.0 for index, _ in enumerate(completions)]

    result = train(config, prompts=rows, evaluation_prompts=rows, rewards={"looked_at": looked_at})
    assert {answer for _, answer in seen} == {row["answer"] for row in ROWS}
    # Held-out rows take the form of the training rows.
    assert all(prompt == [{"role": "user", "content": f"say {answer}"}] for prompt, answer in seen)
    assert len(seen) == 6 * 4 + 2 * 2  # a step, and two evaluations of two prompts
    config = recorded(result)
    assert config["prompts"]["name"] == config["evaluation"]["prompts"]["name"] == f"<{kind} of 6 rows>"
    assert (config["prompts"]["prompt"], config["evaluation"]["prompts"]["chat"]) == ("question", True)


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ({"train": ROWS, "test": ROWS}, ConfigError, r"got a dict of train, test: pass one of these"),
        ("rows.jsonl", ConfigError, "the path of a file belongs into the config: prompts.path=rows.jsonl"),
        (iter(ROWS), ConfigError, "takes a list or a data set with random access; got list_iterator"),
        ([], DataError, r"train\(prompts=...\): there are no prompts in it"),
        ([Prompt("a"), {"prompt": "b"}], DataError, "rows and objects of morl.Prompt in one list"),
        ([3], DataError, "row 0 of the prompts that were passed is int 3; expected a mapping"),
        ([{"question": "a"}], DataError, "row 0: no column 'prompt' to make the prompt of"),
    ],
)
def test_data_that_cannot_be_used_is_refused(one_step, prompts, error, message):
    with pytest.raises(error, match=message):
        train(one_step(None, "prompts"), prompts=prompts)


# Rewards --------------------------------------------------------------------------------------------------------------


def test_functions_bear_their_own_names_and_sections_weigh_them(one_step):
    weights = {"spaces": {"weight": 0.25}, "own": {"name": "python", "function": brief}}
    config = one_step({"rewards": weights})
    result = train(config, rewards=[spaces, brief])
    assert result.rewards == ("spaces", "own", "brief")
    rewards = recorded(result)["rewards"]
    assert rewards["spaces"] == {
        "name": f"<function {__name__}.spaces>", "weight": 0.25, "timeout": 60.0, "on_failure": "abstain",
        "bounds": None, "max_failed_steps": 3, "when": None,
    }  # fmt: skip
    assert rewards["own"]["function"] == f"<function {__name__}.brief>"
    assert rewards["brief"] == {"name": f"<function {__name__}.brief>"}
    # The file can be used again, with the functions, and says which are missing without them.
    again = result.folder / "config.yaml"
    with pytest.raises(ConfigError, match=r"rewards.spaces: <function .*> was passed to morl.train as an object"):
        train(again)
    entry = RewardEntry(brief_provider(), weight=0.5, timeout=None)
    tree = yaml.safe_load(again.read_text()) | {"output": str(result.folder.parent / "again")}
    tree["rewards"]["own"]["function"] = brief
    tree["rewards"]["brief"] = {"weight": 0.5}
    result = train(tree, rewards={"spaces": spaces, "brief": entry})
    assert recorded(result)["rewards"]["brief"]["timeout"] is None


def brief_provider():
    from morl.reward import FunctionReward

    return FunctionReward(brief)


@pytest.mark.parametrize(
    ("sections", "rewards", "message"),
    [
        ({}, [lambda completions: [0.0]], "has no name of its own; pass a mapping"),
        ({}, [brief, brief], "two are called 'brief'"),
        ({}, "brief", "takes a mapping by name, or a list of functions"),
        ({"brief": {"name": "length", "limit": 3}}, [brief], "rewards.brief names 'length' in the config, and <"),
        ({"brief": {"weight": 2.0}}, {"brief": RewardEntry(brief_provider(), weight=0.5)},
         "rewards.brief.weight is 2.0 in the config and 0.5 in the RewardEntry"),
        ({"brief": {"wieght": 2.0}}, [brief], "unknown key 'rewards.brief.wieght'; did you mean 'weight'"),
        ({}, {"brief": 3}, "rewards.brief: a reward function is expected; got 3"),
    ],
)  # fmt: skip
def test_rewards_that_cannot_be_used_are_refused(one_step, sections, rewards, message):
    with pytest.raises(ConfigError, match=message):
        train(one_step({"rewards": sections}), rewards=rewards)


# The policy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [{}, {"lora": {"rank": 2}}, {"gradient_checkpointing": True}])
def test_the_callers_model_stays_as_it_was(one_step, tiny_model, policy):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, attention_dropout=0.1).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.pad_token = None
    ids = torch.tensor([[40, 41, 42, 43]])
    attention = model.config._attn_implementation
    before, weights = model(ids).logits, copy.deepcopy(model.state_dict())
    result = train(one_step({"policy": policy}), policy=model, tokenizer=tokenizer)
    assert torch.equal(model(ids).logits, before)
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    assert not model.training
    assert model.model.layers[0].self_attn.attention_dropout == 0.1
    assert model.config._attn_implementation == attention
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert tokenizer.pad_token is None
    assert recorded(result)["policy"]["name"] == "<Qwen2ForCausalLM>"
    trained = AutoModelForCausalLM.from_pretrained(result.model)
    assert any(not torch.equal(weight, weights[name]) for name, weight in trained.state_dict().items())


def test_a_path_is_a_config_like_any_other(one_step, tiny_model):
    result = train(one_step(None, "policy"), policy=Path(tiny_model))
    assert recorded(result)["policy"]["path"] == str(tiny_model)


@pytest.mark.parametrize(
    ("policy", "message"),
    [(3, "takes a model folder, a hub name, or a causal LM of transformers; got int"),
     ("elsewhere", "policy.path is .* in the config, and 'elsewhere' was passed: choose one")],
)  # fmt: skip
def test_policies_that_cannot_be_used_are_refused(one_step, policy, message):
    with pytest.raises(ConfigError, match=message):
        train(one_step(), policy=policy)


def test_a_model_needs_its_tokenizer(one_step, tiny_model):
    with pytest.raises(ConfigError, match="needs its tokenizer"):
        train(one_step(None, "policy"), policy=AutoModelForCausalLM.from_pretrained(tiny_model))


# The record -----------------------------------------------------------------------------------------------------------


def test_objects_stand_in_the_config_as_objects_and_are_asked_for(one_step):
    result = train(one_step(None, "estimator"), estimator=morl.GRPO(eps=1e-6), loss=morl.loss.ClippedLoss())
    config = recorded(result)
    assert config["estimator"]["name"].startswith("<GRPO eps=1e-06 ")
    assert config["loss"]["name"].startswith("<ClippedLoss ")
    message = (
        r"estimator: <GRPO eps=1e-06 .*> was passed to morl.train as an object, .*morl.train\(..., estimator=...\)"
    )
    with pytest.raises(ConfigError, match=message):
        parse(config, Registry())
    config["loss"], config["training"]["steps"] = {"name": "clipped"}, 2
    assert train(config, estimator=morl.GRPO(eps=1e-6), resume=True).model.is_dir()
    assert not re.search("0x[0-9a-f]{6}", (result.folder / "config.yaml").read_text())


def test_descriptions_show_options_and_no_addresses():
    class Plain:
        pass

    conditioned = morl.Conditioned(morl.GDPO(eps=1e-4), {"brief": {"on": "correct"}})
    assert describe(conditioned).startswith("<Conditioned inner=<GDPO eps=0.0001 ")
    assert "<Condition on='correct' at_least=1.0 " in describe(conditioned)
    assert describe(Plain()) == "<Plain>"
    assert describe(Plain) == f"<class {__name__}.{Plain.__qualname__}>"
    assert writable({"a": (1, None, Plain()), 2: True}) == {"a": [1, None, "<Plain>"], "2": True}
    assert len(describe(morl.Conditioned(morl.GDPO(), {f"r{n}": {"on": "x"} for n in range(99)}))) <= 500


@pytest.mark.parametrize("setting", [{"min_p": 0.1}, {"repetition_penalty": 1.2}, {"stop_token_ids": [3]}])
def test_sampling_that_a_backend_does_not_know_is_refused(one_step, setting):
    class Old(TransformersBackend):
        sampling_options = frozenset()

    config = one_step({"sampling": {"max_tokens": 4, **setting}})
    with pytest.raises(ConfigError, match=rf"sampling.{next(iter(setting))} has no effect: the backend <Old "):
        train(config, rollout=Old())
