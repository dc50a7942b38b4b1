"""What a run samples, for training and for evaluation, token by token beside a plain rendering of the sampling."""

from __future__ import annotations

import json

import pytest
import torch
from plain_sampling import ROUNDING, ends_well, evaluation_uniforms, misses, prompt_row, training_uniforms
from plain_setup import Setup
from plain_update import plain_run
from recorded_run import GROUP, PROMPTS, STOP, config_of, recorded_train, rewards_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from morl import Prompt, train


def plain_model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)


def texts(few_prompts):
    return [json.loads(line)["prompt"] for line in few_prompts.read_text().splitlines()]


@pytest.mark.parametrize(
    "cut", [{}, {"top_k": 7}, {"top_p": 0.8}, {"top_k": 9, "top_p": 0.8}], ids=["all", "top-k", "top-p", "both"]
)
def test_training_samples_come_from_the_streams_of_their_prompts(cut, small_model, few_prompts, tmp_path):
    rewards, plain = rewards_of(), Setup(lr=0.0)
    config = config_of(plain, small_model, few_prompts, tmp_path / "run")
    config["sampling"] |= cut
    _, rollouts = recorded_train(config, rewards, {}, "abstain")
    model, tokenizer = plain_model(small_model), AutoTokenizer.from_pretrained(small_model)
    prompts = texts(few_prompts)
    assert [len(groups) for groups in rollouts] == [PROMPTS] * plain.steps
    for place, (prompt, completions) in enumerate(group for groups in rollouts for group in groups):
        assert prompt == tokenizer(prompts[prompt_row(plain.seed, place, len(prompts))])["input_ids"]
        assert len(completions) == GROUP
        for member, ids in enumerate(completions):
            uniforms = training_uniforms(plain.seed, place, member, len(ids))
            assert max(misses(model, prompt, ids, uniforms, temperature=0.7, **cut)) < ROUNDING
            assert ends_well(tokenizer, ids, STOP, plain.max_tokens)


def test_rows_are_drawn_by_the_settings_that_they_bring(small_model, few_prompts, tmp_path):
    """Each in its own stream, whichever others it is drawn with."""
    rows = [json.loads(line) for line in few_prompts.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["drawn"] |= {"max_tokens": 3 + number % 5, "top_k": [None, 4, 9][number % 3], "stop": STOP}
    rows[1]["drawn"], rows[2]["drawn"] = None, json.dumps({"temperature": 2.0})  # the section's; its text
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = Setup(lr=0.0, own_temperatures=True)
    config = config_of(plain, small_model, own, tmp_path / "run")
    _, rollouts = recorded_train(config, rewards_of(), {}, "abstain")
    model, tokenizer, prompts = plain_model(small_model), AutoTokenizer.from_pretrained(small_model), texts(own)
    for place, (prompt, completions) in enumerate(group for groups in rollouts for group in groups):
        row = prompt_row(plain.seed, place, len(prompts))
        assert prompt == tokenizer(prompts[row])["input_ids"]
        given = rows[row]["drawn"] or {}
        given = json.loads(given) if isinstance(given, str) else given
        for member, ids in enumerate(completions):
            uniforms = training_uniforms(plain.seed, place, member, len(ids))
            cut = {"top_k": given["top_k"]} if given.get("top_k") else {}
            apart = misses(model, prompt, ids, uniforms, temperature=given.get("temperature", 0.7), **cut)
            assert max(apart) < ROUNDING
            assert ends_well(tokenizer, ids, STOP, given.get("max_tokens", plain.max_tokens))


def test_groups_are_replaced_by_the_next_prompts_of_the_stream(small_model, few_prompts, tmp_path):
    plain = Setup(lr=0.0, dynamic=True, mini_batches=1)
    config = config_of(plain, small_model, few_prompts, tmp_path / "run")
    _, rollouts = recorded_train(config, rewards_of(rare=4), {}, "abstain")
    tokenizer, prompts = AutoTokenizer.from_pretrained(small_model), texts(few_prompts)
    assert max(len(groups) for groups in rollouts[:-1]) > PROMPTS, "a step before the last has replaced a group"
    seen = [prompt for groups in rollouts for prompt, _ in groups]
    rows = [prompt_row(plain.seed, place, len(prompts)) for place in range(len(seen))]
    assert seen == [tokenizer(prompts[row])["input_ids"] for row in rows]


def test_training_samples_come_from_the_weights_of_their_step(small_model, few_prompts, tmp_path):
    """The stream alone would not show a policy that samples with the weights that it began with."""
    rewards = rewards_of()
    plain = Setup(rewards={name: reward.of for name, reward in rewards.items()})
    _, rollouts = recorded_train(config_of(plain, small_model, few_prompts, tmp_path / "run"), rewards, {}, "abstain")
    model = plain_model(small_model)
    plain_run(plain, model, rollouts[:-1])
    for place, (prompt, completions) in enumerate(rollouts[-1], start=PROMPTS * (plain.steps - 1)):
        for member, ids in enumerate(completions):
            uniforms = training_uniforms(plain.seed, place, member, len(ids))
            # The weights themselves are known to 1e-6 of their way.
            assert max(misses(model, prompt, ids, uniforms, temperature=0.7)) < 10 * ROUNDING


@pytest.mark.parametrize("temperature", [None, 1.3, 0.0])
def test_evaluation_samples_have_seeds_of_their_own(temperature, small_model, few_prompts, tmp_path):
    """By held-out prompt and by sample, the same before and after training, and not those of training."""
    rewards, samples = rewards_of(missing=3), 1 if temperature == 0 else 3
    plain, held_out = Setup(steps=1, warmup_steps=0), ["held out", "q", "held out"]
    config = config_of(plain, small_model, few_prompts, tmp_path / "run")
    config["evaluation"] = {"samples": samples, "temperature": temperature}
    result = train(config, rewards=rewards, evaluation_prompts=[Prompt(text) for text in held_out])
    tokenizer = AutoTokenizer.from_pretrained(small_model)
    seen = [each for each in rewards["first"].seen if each.prompt.content in held_out]
    size = len(held_out) * samples
    assert len(seen) == 2 * size
    for step, folder, completions in ((0, small_model, seen[:size]), (1, result.model, seen[size:])):
        model = plain_model(folder)
        for number, completion in enumerate(completions):
            row, member = divmod(number, samples)
            ids, prompt = completion.token_ids, tokenizer(held_out[row])["input_ids"]
            assert completion.prompt.content == held_out[row]
            uniforms = evaluation_uniforms(plain.seed, row, member, len(ids))
            drawn_at = 0.7 if temperature is None else temperature
            assert max(misses(model, prompt, ids, uniforms, temperature=drawn_at)) < ROUNDING
            assert ends_well(tokenizer, ids, STOP, plain.max_tokens)
        figures = result.evaluations[step]
        for name, reward in rewards.items():
            given = [score for c in completions if (score := reward.of(c.token_ids)) is not None]
            assert figures[name] == pytest.approx(sum(given) / len(given))
        assert figures["completions/length_mean"] == pytest.approx(sum(c.length for c in completions) / size)
        ended = [c.text.endswith(STOP) or tokenizer.eos_token_id in c.token_ids for c in completions]
        assert figures["completions/truncated"] == pytest.approx(1 - sum(ended) / size)
