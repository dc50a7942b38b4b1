"""Two processes share the held-out prompts, unevenly, and find what is counted by hand over all completions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import forks
import plain_evaluation
import pytest
import torch
from plain_evaluation import Sample
from plain_sampling import ROUNDING, evaluation_uniforms, misses
from plain_setup import FAILED, Setup
from recorded_run import TokenReward, config_of, cut_at
from transformers import AutoModelForCausalLM, AutoTokenizer

SAMPLES, LIMIT = 4, 5
HELD_OUT = {"a": ["held out", "q", "x7", "held"], "b": ["out", "abc", "of it"]}
IN_TURNS = [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)]
"""The mixture of four and three rows by their number."""
FIRST = {"modulus": 3, "missing": 5, "failing": 7}
SECOND = {"modulus": 3, "missing": 4}
PASSES = {"first": 0.5, "second": 0.5}
ROUNDED = 1e-9
"""Of means of some dozen float64; a completion too few or too many moves them by 1e-3 at least."""


def scored(samples):
    """Completions with what the rewards say of their tokens, in place of what the run says of them."""
    first, second = TokenReward(**FIRST), TokenReward(**SECOND)
    cut = cut_at(Setup().max_tokens)
    for each in samples:
        given = {"first": first.of(each["ids"])} | ({"second": second.of(each["ids"])} if each["source"] == "b" else {})
        failed = frozenset(name for name, score in given.items() if score == FAILED)
        scores = {name: 0.0 if name in failed else score for name, score in given.items() if score is not None}
        place = IN_TURNS.index((each["source"], each["row"]))
        yield Sample(place, each["source"], each["ids"], cut(each["ids"]), scores, frozenset(given), failed)


@pytest.fixture
def evaluated(small_model, few_prompts, tmp_path):
    """`evaluated(command)`: what both ranks found, and all samples."""

    def run(command):
        config = config_of(Setup(steps=1, warmup_steps=0), small_model, few_prompts, tmp_path / "run")
        sources = {}
        for name, texts in HELD_OUT.items():
            path = tmp_path / f"{name}.jsonl"
            path.write_text("".join(json.dumps({"prompt": text, "row": n}) + "\n" for n, text in enumerate(texts)))
            sources[name] = {"name": "jsonl", "path": str(path), "weight": len(texts)}
        config["evaluation"] = {"samples": SAMPLES, "prompts": {"name": "mixture", "sources": sources}}
        config["rewards"] = {
            "first": {"name": "token", **FIRST, "on_failure": "zero"},
            "second": {"name": "token", **SECOND, "when": {"column": "source", "is": "b"}},
        }
        rows = [{**json.loads(line), "source": "b"} for line in few_prompts.read_text().splitlines()]
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config["prompts"] = {"path": str(tmp_path / "train.jsonl")}
        config["trainer"] |= {"devices": 2, "strategy": "ddp"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "measures.json").write_text(json.dumps({"k": [1, 2], "success": PASSES, "limit": LIMIT}))
        done = forks.run([Path(__file__).with_name("recorded_evaluation.py"), tmp_path, command], tmp_path, ranks=2)
        assert done.returncode == 0, done.output
        ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
        # A training ends with another evaluation, of the same prompts.
        firsts = [seen[: len(seen) // (2 if command == "train" else 1)] for seen in (rank["seen"] for rank in ranks)]
        return [rank["found"] for rank in ranks], [*scored([*firsts[0], *firsts[1]])]

    return run


def check_samples(samples, small_model):
    """Every prompt was sampled on one rank, from the streams of its place."""
    assert sorted(each.prompt for each in samples) == sorted([*range(len(IN_TURNS))] * SAMPLES)
    model = AutoModelForCausalLM.from_pretrained(small_model, dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(small_model)
    for place, (source, row) in enumerate(IN_TURNS):
        prompt = tokenizer(HELD_OUT[source][row])["input_ids"]
        for member, each in enumerate(each for each in samples if each.prompt == place):
            uniforms = evaluation_uniforms(Setup().seed, place, member, len(each.ids))
            apart = misses(model, prompt, each.ids, uniforms, temperature=Setup().temperature)
            assert max(apart) < ROUNDING


@pytest.mark.slow
def test_two_processes_find_what_is_counted_before_a_training(evaluated, small_model, tmp_path):
    found, samples = evaluated("train")
    check_samples(samples, small_model)
    expected = plain_evaluation.in_training(samples, ["first", "second"])
    assert 1 < len({each.prompt for each in samples if "second" in each.scores}), "what the test is about does occur"
    assert 0 < expected["first/scored"] < 1
    assert 0 < expected["second/scored"] < 1
    assert any(each.failed for each in samples)
    assert math.isnan(expected["source/a/second"])
    for rank in found:
        assert rank == pytest.approx(expected, rel=ROUNDED, nan_ok=True)
    row = json.loads((tmp_path / "run" / "evaluation.json").read_text())[0]
    assert row["prompts"] == len(IN_TURNS)
    measured = {name: lambda each, name=name: each.scores.get(name) for name in ("first", "second")}
    measured |= {
        "completions/length_mean": lambda each: len(each.ids),
        "completions/truncated": lambda each: each.truncated,
    }
    for name, value in measured.items():
        _, interval = plain_evaluation.over_prompts(samples, value)
        assert row["intervals"].pop(name) == pytest.approx(list(interval), rel=ROUNDED)
    assert not row["intervals"]


@pytest.mark.slow
def test_two_processes_find_what_is_counted_of_a_model(evaluated, small_model):
    found, samples = evaluated("evaluate")
    check_samples(samples, small_model)
    for figures in found:
        assert (figures["prompts"], figures["samples"], figures["limit"]) == (len(IN_TURNS), SAMPLES, LIMIT)
        same(figures["length"], plain_evaluation.over_prompts(samples, lambda each: len(each.ids)))
        same(figures["truncated"], plain_evaluation.over_prompts(samples, lambda each: each.truncated))
        same(figures["over_limit"], plain_evaluation.over_prompts(samples, lambda each: len(each.ids) > LIMIT))
        for name, reward in figures["rewards"].items():
            same(reward["mean"], plain_evaluation.over_prompts(samples, lambda each, name=name: each.scores.get(name)))
            counted = sum(name in each.scores for each in samples)
            failed = sum(name in each.failed for each in samples)
            assert (reward["scored"], reward["failed"]) == (counted, failed)
            assert reward["missing"] == len(samples) - counted
        for name, passed in figures["passes"].items():
            for k, chance in passed["at"].items():

                def passes(each, name=name):
                    return each.scores[name] >= PASSES[name] if name in each.scores else None

                same(chance, plain_evaluation.passes(samples, int(k), passes))


def same(estimate, expected):
    """An estimate of a file, and the mean and the interval that it should have."""
    mean, interval = expected
    assert (estimate["mean"], estimate["low"], estimate["high"]) == pytest.approx((mean, *interval), rel=ROUNDED)
