"""The transformers backend keeps what every backend has to keep, with both decoders, whole and with adapters."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import define, evolve

from morl.errors import ConfigError, DataError, RolloutError
from morl.policy.load import load_policy, load_tokenizer
from morl.policy.options import LoRA
from morl.rollout.transformers import TransformersBackend
from morl.testing.rollouts import check_rollout_backend
from morl.types import CompletionStatus, EncodedPrompt, Prompt, RolloutBatch, Sampling, Turn

LOGPROBS = 1e-4
"""Of float32 log-probabilities by another way through the model; see "Limits for rounding" in CONTRIBUTING.md."""


def encoded(*rows: tuple[int, ...]) -> list[EncodedPrompt]:
    return [EncodedPrompt(Prompt(""), "", ids, index) for index, ids in enumerate(rows)]


def started(path: Path, **options: Any) -> TransformersBackend:
    backend = TransformersBackend(**options)
    backend.start(load_policy(str(path)), load_tokenizer(str(path)), str(path))
    backend.sync_weights(1)
    return backend


@pytest.mark.parametrize("attention", ["packed", "padded"])
def test_conformance(tiny_model: Path, attention: Any) -> None:
    path = str(tiny_model)
    check_rollout_backend(TransformersBackend, load_policy(path, attention=attention), load_tokenizer(path), path)


def test_conformance_with_adapters_and_small_waves(tiny_model: Path) -> None:
    path = str(tiny_model)
    policy = load_policy(path, lora=LoRA(rank=4))

    def make() -> TransformersBackend:
        return TransformersBackend(max_rows=16, prefill_tokens=8)

    check_rollout_backend(make, policy, load_tokenizer(path), path)


class Stale(TransformersBackend):
    """Samples from the weights it was started with, as an engine does whose weight sync does nothing."""

    def start(self, policy: Any, tokenizer: Any, model_path: str) -> None:
        super().start(copy.deepcopy(policy), tokenizer, model_path)


class Seedless(TransformersBackend):
    """Draws with the global random state."""

    def generate(self, prompts: Any, n: int, sampling: Sampling, seeds: Any) -> RolloutBatch:
        return super().generate(prompts, n, sampling, torch.randint(2**62, (len(prompts),)).tolist())


class Interdependent(TransformersBackend):
    """Seeds a prompt by its place in the batch."""

    def generate(self, prompts: Any, n: int, sampling: Sampling, seeds: Any) -> RolloutBatch:
        return super().generate(prompts, n, sampling, [seed ^ row for row, seed in enumerate(seeds)])


@define(eq=False)
class Altering(TransformersBackend):
    """Returns batches that are wrong in one respect."""

    wrong: str = ""

    def generate(self, prompts: Any, n: int, sampling: Sampling, seeds: Any) -> RolloutBatch:
        if self.wrong == "stop":
            sampling = evolve(sampling, stop=())
        batch = super().generate(prompts, n, sampling, seeds)
        ids, mask, logprobs = batch.completion_ids_BT, batch.completion_mask_BT, batch.rollout_logprobs_BT
        match self.wrong:
            case "truncated":
                return evolve(batch, truncated_B=torch.zeros_like(batch.truncated_B))
            case "version":
                return evolve(batch, weights_versions_B=torch.zeros_like(batch.weights_versions_B))
            case "logprobs":
                return evolve(batch, rollout_logprobs_BT=logprobs - 1e-3 * mask)
            case "order":
                return evolve(batch, group_ids_B=batch.group_ids_B.flip(0))
            case "end":
                mask = mask & ((ids != 0) | (torch.arange(ids.shape[1]) == 0))
                return evolve(batch, completion_mask_BT=mask, rollout_logprobs_BT=logprobs * mask)
            case "sampled":
                # The end-of-sequence token is forgotten, as by an engine that appends it.
                sampled = mask & ~torch.isin(ids, torch.tensor(self._tokenizer.eos_token_id))
                ends = sampled.sum(1).tolist()
                turns = [
                    () if not end else (evolve(own[0], end=end),) for own, end in zip(batch.turns, ends, strict=True)
                ]
                return evolve(batch, sampled_mask_BT=sampled, turns=tuple(turns))
            case "status":
                return evolve(batch, statuses=(CompletionStatus.TURN_LIMIT,) * len(batch))
            case "turns":
                return evolve(batch, turns=tuple(_halved(own[0]) for own in batch.turns))
            case "reply":
                turns = [(evolve(own[0], reply={"role": "user", "content": own[0].text}),) for own in batch.turns]
                return evolve(batch, turns=tuple(turns))
            case "answers":
                said = ({"role": "user", "content": "well"},)
                return evolve(batch, turns=tuple((evolve(own[0], answers=said),) for own in batch.turns))
        return batch


def _halved(turn: Turn) -> tuple[Turn, ...]:
    """Two turns where there is one of two tokens at least."""
    if turn.length == 1:
        return (turn,)
    middle = turn.length // 2
    return (evolve(turn, end=middle), evolve(turn, start=middle))


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (Stale, "sync_weights had no effect"),
        (Seedless, "the same seeds gave other samples"),
        (Interdependent, "depend on what else is in the batch"),
        (lambda: Altering(wrong="truncated"), "truncated_B must be set"),
        (lambda: Altering(wrong="version"), "weights_versions_B must be"),
        (lambda: Altering(wrong="logprobs"), "differs by 0.001 from that of a forward pass"),
        (lambda: Altering(wrong="order"), "side by side"),
        (lambda: Altering(wrong="end"), "T is|end-of-sequence|truncated|texts"),
        (lambda: Altering(wrong="stop"), "stop string"),
        (lambda: Altering(wrong="sampled"), "sampled_mask_BT leaves out tokens"),
        (lambda: Altering(wrong="status"), "`statuses` of completion 0 must be"),
        (lambda: Altering(wrong="turns"), "must be the one turn"),
        (lambda: Altering(wrong="reply"), "must be the one turn"),
        (lambda: Altering(wrong="answers"), "answers of an environment, which nobody asked"),
    ],
)
def test_conformance_catches(tiny_model: Path, faulty: Any, message: str) -> None:
    path = str(tiny_model)
    with pytest.raises(AssertionError, match=message), torch.random.fork_rng():
        check_rollout_backend(faulty, load_policy(path), load_tokenizer(path), path)


def test_waves_change_nothing(tiny_model: Path) -> None:
    prompts = encoded((5, 6, 7), (9,), (8,) * 20, (5, 6, 7))
    sampling, seeds = Sampling(max_tokens=20, temperature=1.3), [3, 1, 4, 1]
    whole = started(tiny_model).generate(prompts, 3, sampling, seeds)
    for max_rows in (1, 2, 5, 12):
        waves = started(tiny_model, max_rows=max_rows, prefill_tokens=1).generate(prompts, 3, sampling, seeds)
        assert waves.completion_ids_BT.tolist() == whole.completion_ids_BT.tolist()
        assert waves.truncated_B.tolist() == whole.truncated_B.tolist()
        torch.testing.assert_close(waves.rollout_logprobs_BT, whole.rollout_logprobs_BT, atol=LOGPROBS, rtol=0)


def test_two_decoders_draw_the_same(tiny_model: Path) -> None:
    prompts, sampling = encoded((5, 6, 7), (9,), (8,) * 20), Sampling(max_tokens=40, top_p=0.9)
    batches = []
    attentions: list[Any] = ["packed", "padded"]
    for attention in attentions:
        backend = TransformersBackend()
        backend.start(load_policy(str(tiny_model), attention=attention), load_tokenizer(str(tiny_model)), "")
        batches.append(backend.generate(prompts, 3, sampling, [1, 2, 3]))
    assert batches[0].texts == batches[1].texts
    torch.testing.assert_close(batches[0].rollout_logprobs_BT, batches[1].rollout_logprobs_BT, atol=LOGPROBS, rtol=0)


def test_computes_in_the_autocast_of_the_trainer(tiny_model: Path) -> None:
    backend, prompts, sampling = started(tiny_model), encoded((5, 6, 7), (9, 8)), Sampling(max_tokens=12)
    with torch.autocast("cpu", torch.bfloat16):
        low = backend.generate(prompts, 2, sampling, [1, 2])
    full = backend.generate(prompts, 2, sampling, [1, 2])
    assert low.rollout_logprobs_BT.dtype == torch.float32
    same = low.completion_ids_BT[:, 0] == full.completion_ids_BT[:, 0]
    difference = (low.rollout_logprobs_BT - full.rollout_logprobs_BT)[same, 0].abs()
    assert 0 < difference.max() < 0.1


def test_too_long_for_the_model(tiny_model: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"\(4000 tokens\) and max_tokens \(97\) make 4097 positions, the model has 4096"
    ):
        started(tiny_model).generate(encoded((5,) * 4000), 1, Sampling(max_tokens=97), [0])


def test_prompt_without_tokens(tiny_model: Path) -> None:
    with pytest.raises(DataError, match="the prompt of row 1 has no tokens"):
        started(tiny_model).generate(encoded((5,), ()), 1, Sampling(), [0, 1])


def test_not_started() -> None:
    with pytest.raises(RolloutError, match=r"call start\(\) first"):
        TransformersBackend().sync_weights(1)
    with pytest.raises(RolloutError, match=r"call start\(\) first"):
        TransformersBackend().generate(encoded((5,)), 1, Sampling(), [0])


def test_closing_lets_the_policy_go(tiny_model: Path) -> None:
    backend = started(tiny_model)
    backend.close()
    with pytest.raises(RolloutError, match=r"call start\(\) first"):
        backend.generate(encoded((5,)), 1, Sampling(), [0])


@pytest.mark.parametrize("option", [{"max_rows": -1}, {"prefill_tokens": 0}])
def test_options_that_make_no_sense(option: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        TransformersBackend(**option)
