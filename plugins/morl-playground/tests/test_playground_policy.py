"""The policy source: what it makes, that it makes it again bit by bit, and where it keeps it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from morl.errors import ConfigError
from morl.hookspecs import Environment, PolicySource, PromptSource, RewardProvider
from morl.plugins import Registry
from morl_playground import plugin
from morl_playground.cache import made_once
from morl_playground.policy import PlaygroundPolicy
from morl_playground.tool_calling import CLOSE, OPEN, call

QUICK = PlaygroundPolicy(warmup_steps=3, warmup_batch_size=4, hidden_size=16)


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def visible(cache: Path) -> list[str]:
    """What is in the cache besides locks, which stay; an unfinished folder would show."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def greedy(model: Any, input_ids: torch.Tensor, tokens: int) -> torch.Tensor:
    mask = torch.ones_like(input_ids)
    generated: torch.Tensor = model.generate(input_ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False)
    return generated


@pytest.mark.parametrize(
    ("kind", "name", "protocol"),
    [
        ("policy source", "playground", PolicySource),
        ("prompt source", "playground-tool-calling", PromptSource),
        ("prompt source", "playground-math", PromptSource),
        ("prompt source", "playground-code", PromptSource),
        ("prompt source", "playground-shop", PromptSource),
        ("reward provider", "playground-code", RewardProvider),
        ("reward provider", "playground-calls", RewardProvider),
        ("environment", "playground-shop", Environment),
    ],
)
def test_the_installed_plugin_offers_its_parts_and_they_can_be_imported(kind: str, name: str, protocol: type) -> None:
    assert name in {part.name for part in Registry().names(kind)}
    assert isinstance(Registry([plugin], discover=False).find(kind, name).load()(), protocol)


def test_two_builds_are_equal_bit_by_bit_whatever_torch_is_up_to(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = weights(attrs.evolve(QUICK, cache=str(tmp_path / "a")).resolve())
    torch.manual_seed(2)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        second = weights(attrs.evolve(QUICK, cache=str(tmp_path / "b")).resolve())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert same(first, second)


def test_another_seed_or_more_steps_make_another_policy(tmp_path: Path) -> None:
    quick = attrs.evolve(QUICK, cache=str(tmp_path))
    made = [quick, attrs.evolve(quick, seed=1), attrs.evolve(quick, warmup_steps=4)]
    one, two, three = (weights(policy.resolve()) for policy in made)
    assert not same(one, two)
    assert not same(one, three)


def test_torchs_random_state_stays_as_it_was(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    attrs.evolve(QUICK, cache=str(tmp_path)).resolve()
    assert torch.equal(torch.get_rng_state(), before)


def test_plain_transformers_loads_the_folder_and_it_generates(tmp_path: Path) -> None:
    folder = attrs.evolve(QUICK, cache=str(tmp_path)).resolve()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.eos_token_id == model.config.eos_token_id != tokenizer.pad_token_id
    text = f"buy 7 pears ->{OPEN}{call('buy', 7, 'pears')}{CLOSE}"
    inputs = tokenizer(text, return_tensors="pt")
    assert tokenizer.decode(inputs["input_ids"][0]) == text
    assert greedy(model, inputs["input_ids"], 4).shape[1] > inputs["input_ids"].shape[1]


@pytest.mark.slow
def test_the_default_is_small_and_has_learned_the_task_by_halves(tmp_path: Path) -> None:
    folder = PlaygroundPolicy(cache=str(tmp_path)).resolve()
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert 100_000 < sum(weight.numel() for weight in model.parameters()) < 200_000
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("buy 7 pears ->", return_tensors="pt")
    likeliest = greedy(model, prompt["input_ids"], 30)
    assert '"name": "buy", "parameters": {"count": ' in tokenizer.decode(likeliest[0])
    with torch.no_grad():
        first = torch.softmax(model(prompt["input_ids"]).logits[0, -1], 0)
    assert 0.05 < first[tokenizer.convert_tokens_to_ids("<tool_call>")] < 0.3  # demonstrated with probability 0.15


def test_a_policy_that_was_made_is_found_again(tmp_path: Path) -> None:
    quick = attrs.evolve(QUICK, cache=str(tmp_path))
    folder = Path(quick.resolve())
    made = folder.stat().st_mtime_ns
    assert quick.resolve() == str(folder)
    assert folder.stat().st_mtime_ns == made
    assert visible(tmp_path) == [folder.name]


def test_every_option_but_the_cache_is_in_the_name(tmp_path: Path) -> None:
    others = [
        attrs.evolve(QUICK, **change)
        for change in (
            {"seed": 1},
            {"hidden_size": 32},
            {"layers": 1},
            {"heads": 2},
            {"warmup_steps": 1},
            {"warmup_batch_size": 1},
            {"warmup_learning_rate": 1.0},
            {"task_options": {"slips": 0.5}},
        )
    ]
    assert len({policy.folder for policy in (QUICK, *others)}) == 1 + len(others)
    assert attrs.evolve(QUICK, cache=str(tmp_path)).folder.name == QUICK.folder.name


def test_the_cache_is_where_the_desktop_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert QUICK.folder.parent == tmp_path / "morl-playground"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert QUICK.folder.parent == tmp_path / "home" / ".cache" / "morl-playground"


def test_a_policy_that_another_process_makes_meanwhile_is_waited_for(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.2)  # long enough for the others to come
        (folder / "model").write_text("whole")

    with ThreadPoolExecutor(4) as pool:  # each call takes the lock anew, as a process of its own would
        found = list(pool.map(lambda _: made_once(tmp_path / "policy", make), range(4)))
    assert found == [str(tmp_path / "policy")] * 4
    assert len(made) == 1
    assert visible(tmp_path) == ["policy"]
    assert (tmp_path / "policy" / "model").read_text() == "whole"


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("out of patience")

    monkeypatch.setattr("morl_playground.sft.sft_initialised", fail)
    with pytest.raises(RuntimeError, match="out of patience"):
        attrs.evolve(QUICK, cache=str(tmp_path)).resolve()
    assert not visible(tmp_path)


def test_progress_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attrs.evolve(QUICK, cache=str(tmp_path)).resolve()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "playground: warming up a policy for 'tool-calling'" in captured.err


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hidden_size must be a multiple of 2 \* heads = 8; got 60"):
        PlaygroundPolicy(hidden_size=60)


def test_an_unknown_task_is_refused_before_anything_is_made() -> None:
    with pytest.raises(ConfigError, match="unknown playground task 'chess'; available: tool-calling, math, code"):
        PlaygroundPolicy(task="chess")
