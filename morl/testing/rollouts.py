"""What every rollout backend has to keep, checked on a small policy.

    from morl.testing.rollouts import check_rollout_backend

    def test_my_backend(policy, tokenizer, model_path):
        check_rollout_backend(lambda: MyBackend(), policy, tokenizer, model_path)

The policy should be tiny, float32 and random, its tokenizer of at most some hundred entries: the checks compare every
log-probability with a forward pass of `transformers`, and draw until an end-of-sequence token comes first.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from morl.hookspecs import RolloutBackend
from morl.rollout.context import context_limit
from morl.rollout.ends import end_tokens
from morl.testing.requirements import random_states, require
from morl.types import CompletionStatus, EncodedPrompt, Prompt, RolloutBatch, Sampling

LONG = 300
"""Tokens of a long prompt, where the model has room for them."""


def check_rollout_backend(
    make_backend: Callable[[], RolloutBackend],
    policy: nn.Module,
    tokenizer: Any,
    model_path: str,
    *,
    tolerance: float = 1e-5,
) -> None:
    """Runs the whole suite; the weights of the policy are changed for one check and put back.

    Args:
        make_backend: a new backend, not started.
        policy: a `morl.policy.PolicyModel`.
        tokenizer: its tokenizer.
        model_path: where both were loaded from.
        tolerance: largest difference of a log-probability from that of a forward pass.

    Raises:
        AssertionError: says what the backend does not keep.
    """
    before = random_states()
    training = [module.training for module in policy.modules()]
    backend = make_backend()
    try:
        backend.start(policy, tokenizer, model_path)
        backend.sync_weights(1)
        case = _Case(backend, policy, tokenizer, tolerance)
        _check_invariants(case)
        _check_groups(case)
        _check_seeds(case)
        _check_ends(case)
        _check_stop_strings(case)
        _check_greedy(case)
        _check_logprobs(case)
        _check_long_prompts(case)
        _check_special_tokens(case)
        _check_weight_sync(case)
    finally:
        backend.close()
    require(random_states() == before, "the global state of random, numpy or torch was advanced")
    require([m.training for m in policy.modules()] == training, "a module of the policy was left in another mode")


@frozen(eq=False)
class _Case:
    backend: RolloutBackend
    policy: nn.Module
    tokenizer: Any
    tolerance: float

    @property
    def base_model(self) -> Any:
        model: Any = self.policy.model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    @property
    def end_ids(self) -> frozenset[int]:
        return end_tokens(self.tokenizer, getattr(self.base_model, "generation_config", None))

    @property
    def long(self) -> int:
        """Tokens of a long prompt."""
        room = context_limit(self.base_model.config)
        return LONG if room is None else min(LONG, room - 16)

    def prompts(self, lengths: Sequence[int], seed: int = 0) -> list[EncodedPrompt]:
        """Prompts of random ordinary tokens."""
        source = random.Random(seed)
        ordinary = sorted(set(range(len(self.tokenizer))) - set(self.tokenizer.all_special_ids) - self.end_ids)
        rows = [tuple(source.choices(ordinary, k=length)) for length in lengths]
        texts = [self.tokenizer.decode(ids) for ids in rows]
        return [
            EncodedPrompt(Prompt(text), text, ids, row) for row, (text, ids) in enumerate(zip(texts, rows, strict=True))
        ]

    def generate(
        self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int] | None = None
    ) -> RolloutBatch:
        """A batch whose form has been checked."""
        batch = self.backend.generate(prompts, n, sampling, range(len(prompts)) if seeds is None else seeds)
        _check_form(batch, prompts, n, sampling, self)
        return batch


def _check_form(batch: RolloutBatch, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, case: _Case) -> None:
    B, T = batch.completion_ids_BT.shape
    require(len(prompts) * n == B == len(batch.texts), f"expected {len(prompts)} x {n} completions; got {B}")
    require(
        all(mine is given for mine, given in zip(batch.prompts, prompts, strict=True)),
        "`prompts` of the batch are not those given, in their order",
    )
    require(
        batch.group_ids_B.tolist() == [row for row in range(len(prompts)) for _ in range(n)],
        f"completions of a prompt must stand side by side, prompts in order; got {batch.group_ids_B.tolist()}",
    )
    for name, dtype in (
        ("weights_versions_B", torch.int64),
        ("group_ids_B", torch.int64),
        ("completion_ids_BT", torch.int64),
        ("completion_mask_BT", torch.bool),
        ("sampled_mask_BT", torch.bool),
        ("rollout_logprobs_BT", torch.float32),
        ("truncated_B", torch.bool),
    ):
        got = getattr(batch, name).dtype
        require(got == dtype, f"{name} must be {dtype}; got {got}")
    mask_BT = batch.completion_mask_BT
    # One turn of the policy: nobody else has put a token in.
    require(bool((batch.sampled_mask_BT == mask_BT).all()), "sampled_mask_BT leaves out tokens that were sampled")
    lengths_B = batch.lengths_B
    right_padded = torch.arange(T, device=mask_BT.device) < lengths_B[:, None]
    require(bool((mask_BT == right_padded).all()), "completion_mask_BT is not that of right-padded rows")
    require(1 <= int(lengths_B.min()), "a completion has no token, not even that which ended it")
    require(int(lengths_B.max()) == T <= sampling.max_tokens, f"T is {T}; longest {int(lengths_B.max())} tokens")
    require(bool((batch.completion_ids_BT[~mask_BT] == 0).all()), "completion_ids_BT must be 0 at padding")
    require(bool((batch.rollout_logprobs_BT[~mask_BT] == 0).all()), "rollout_logprobs_BT must be 0 at padding")
    logprobs = batch.rollout_logprobs_BT[mask_BT]
    require(
        bool(torch.isfinite(logprobs).all() and (logprobs <= 1e-6).all()), "a log-probability is above 0 or infinite"
    )
    decoded = tuple(case.tokenizer.batch_decode([list(row) for row in _tokens(batch)], skip_special_tokens=True))
    require(batch.texts == decoded, "texts are not the completions decoded without special tokens")
    _check_turns(batch)


def _check_turns(batch: RolloutBatch) -> None:
    columns = (batch.turns, batch.statuses, batch.lengths_B.tolist(), batch.truncated_B.tolist(), batch.texts)
    for row, (turns, status, length, truncated, text) in enumerate(zip(*columns, strict=True)):
        got = [(turn.start, turn.end, turn.text, dict(turn.reply), turn.truncated) for turn in turns]
        expected = (0, length, text, {"role": "assistant", "content": text}, truncated)
        require(got == [expected], f"`turns` of completion {row} must be the one turn {expected}; got {got}")
        require(not turns[0].answers, f"completion {row} holds answers of an environment, which nobody asked")
        ended = CompletionStatus.TRUNCATED if truncated else CompletionStatus.COMPLETED
        require(status == ended, f"`statuses` of completion {row} must be {ended.value}; got {status.value}")


def _check_invariants(case: _Case) -> None:
    prompts = case.prompts([3, 1, 7])
    sampling = Sampling(max_tokens=9)
    for n in (1, 4):
        case.generate(prompts, n, sampling)
    case.generate(prompts[:1], 1, Sampling(max_tokens=1))


def _check_groups(case: _Case) -> None:
    (prompt,) = case.prompts([4])
    rows = _tokens(case.generate([prompt], 6, Sampling(max_tokens=12, temperature=2.0)))
    require(len(set(rows)) > 1, "all completions of a group are the same")


def _check_seeds(case: _Case) -> None:
    prompts = case.prompts([3, 11, 1, 3])
    sampling = Sampling(max_tokens=12, temperature=2.0)
    seeds = [5, 2**63 - 1, 0, 6]
    batch = case.generate(prompts, 3, sampling, seeds)
    _require_same(batch, case.generate(prompts, 3, sampling, seeds), "the same seeds gave other samples", case)
    others = case.generate(prompts, 3, sampling, [15, 16, 17, 18])
    require(_tokens(batch) != _tokens(others), "other seeds gave the same samples")
    twice = [prompts[0], evolve(prompts[0], index=9)]
    rows = _tokens(case.generate(twice, 4, sampling, [1, 2]))
    require(rows[:4] != rows[4:], "one prompt under two seeds gave the same samples")
    for group, prompt in enumerate(prompts):
        alone = case.generate([prompt], 3, sampling, [seeds[group]])
        together = batch.select(range(3 * group, 3 * group + 3))
        _require_same(alone, together, "samples of a prompt depend on what else is in the batch", case)


def _check_ends(case: _Case) -> None:
    end_ids, V = case.end_ids, len(case.tokenizer)
    require(bool(end_ids), "the tokenizer has no end-of-sequence token: this suite needs one")
    flat = Sampling(max_tokens=1, temperature=1e4)
    prompts = case.prompts([2] * 8)
    for seed in range(0, 12 * V, 8):
        batch = case.generate(prompts, 4, flat, range(seed, seed + 8))
        ended = torch.isin(
            batch.completion_ids_BT[:, 0], torch.tensor(sorted(end_ids), device=batch.truncated_B.device)
        )
        require(bool((batch.truncated_B == ~ended).all()), "truncated_B must be set where the limit came before an end")
        if ended.any():
            text = batch.texts[int(ended.nonzero()[0])]
            require(text == "", f"a completion of nothing but an end-of-sequence token has the text {text!r}")
            break
    else:
        raise AssertionError(f"no end-of-sequence token in {48 * V} nearly uniform draws out of {V}")
    room = context_limit(case.base_model.config)
    limit = V if room is None else min(V, room - 2)
    batch = case.generate(prompts, 4, evolve(flat, max_tokens=limit))
    require(
        0 < int(batch.truncated_B.sum()) < len(batch), "truncated_B is the same for all completions, long and short"
    )
    for row, truncated in zip(_tokens(batch), batch.truncated_B.tolist(), strict=True):
        require(not end_ids.intersection(row[:-1]), "a completion continued after an end-of-sequence token")
        if truncated:
            require(len(row) == limit and row[-1] not in end_ids, "a truncated completion is short, or had ended")
        else:
            require(row[-1] in end_ids, "a completion that ended lacks its end-of-sequence token")


def _check_stop_strings(case: _Case) -> None:
    prompts = case.prompts([3, 5])
    sampling = Sampling(max_tokens=24, temperature=2.0)
    free = case.generate(prompts, 4, sampling)
    longest = max(_tokens(free), key=len)
    pieces = (
        case.tokenizer.decode(list(longest[at : at + 2]), skip_special_tokens=True) for at in range(2, len(longest) - 2)
    )
    stop = next((piece.strip() for piece in pieces if piece.strip()), None)
    require(
        stop is not None, f"no text in a completion of {len(longest)} tokens: give the suite a policy that says more"
    )
    assert stop is not None
    stopping = Sampling(max_tokens=24, temperature=2.0, stop=("never in any text", stop))
    stopped = case.generate(prompts, 4, stopping)
    for row, cut, text, truncated in zip(
        _tokens(free), _tokens(stopped), stopped.texts, stopped.truncated_B.tolist(), strict=True
    ):
        texts = (case.tokenizer.decode(list(row[:end]), skip_special_tokens=True) for end in range(1, len(row) + 1))
        ends = next((end for end, text in enumerate(texts, 1) if stop in text), None)
        require(cut == row[:ends], f"stop string {stop!r}: expected the tokens {row[:ends]}; got {cut}")
        require(ends is None or (stop in text and not truncated), f"a completion stopped by {stop!r} lost it")


def _check_greedy(case: _Case) -> None:
    prompts = case.prompts([4, 6, 2])
    sampling = Sampling(max_tokens=8, temperature=0.0)
    batch = case.generate(prompts, 2, sampling)
    _require_same(batch, case.generate(prompts, 2, sampling, [7, 8, 9]), "temperature 0 depends on the seeds", case)
    logprobs_of = _reference(case)
    for prompt, row in zip([p for p in prompts for _ in range(2)], _tokens(batch), strict=True):
        table = logprobs_of(prompt.token_ids, row, 1.0)
        chosen = table.gather(1, torch.tensor(row, device=table.device)[:, None])[:, 0]
        likeliest = bool((table.amax(1) - chosen <= case.tolerance).all())
        require(likeliest, "temperature 0 is not greedy: it did not take the most probable token")
    _require_logprobs(case, batch, 1.0)


def _check_logprobs(case: _Case) -> None:
    prompts = case.prompts([4, 9, 1])
    for sampling in (
        Sampling(max_tokens=16),
        Sampling(max_tokens=16, temperature=0.7),
        Sampling(max_tokens=16, temperature=1.5, top_k=3),
        Sampling(max_tokens=16, top_p=0.5),
    ):
        _require_logprobs(case, case.generate(prompts, 3, sampling), sampling.temperature)


def _check_long_prompts(case: _Case) -> None:
    batch = case.generate(case.prompts([case.long, 2, case.long - 1]), 2, Sampling(max_tokens=8))
    _require_logprobs(case, batch, 1.0)


def _check_special_tokens(case: _Case) -> None:
    """As a chat template makes them: a prompt may hold ends of sequence, and end in one."""
    (prompt,) = case.prompts([6])
    ids, size = prompt.token_ids, case.base_model.get_input_embeddings().num_embeddings
    # A tokenizer may have more of them than the model has embeddings.
    special = sorted(i for i in case.end_ids.union(case.tokenizer.all_special_ids) if i < size)
    prompts = [EncodedPrompt(prompt.prompt, "", (*special, *ids, *special, *ids[:after]), 0) for after in (0, 2)]
    batch = case.generate(prompts, 3, Sampling(max_tokens=16))
    require(int(batch.lengths_B.max()) > 1, "a prompt that ends in an end-of-sequence token is not continued")
    _require_logprobs(case, batch, 1.0)


def _check_weight_sync(case: _Case) -> None:
    # A long one too, for which an engine may have kept what it computed with older weights.
    prompts = case.prompts([4, 9, case.long])
    sampling = Sampling(max_tokens=16)
    case.backend.sync_weights(7)
    before = case.generate(prompts, 3, sampling)
    _require_version(before, 7)
    trained = [p for p in case.policy.parameters() if p.requires_grad] or list(case.policy.parameters())
    kept = [p.detach().clone() for p in trained]
    source = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            for p in trained:
                scale = max(0.1, float(p.detach().std(correction=0)))
                p.add_(scale * torch.randn(p.shape, generator=source).to(p))
        case.backend.sync_weights(8)
        after = case.generate(prompts, 3, sampling)
        _require_version(after, 8)
        require(
            _tokens(before) != _tokens(after) or bool((before.rollout_logprobs_BT != after.rollout_logprobs_BT).any()),
            "samples and log-probabilities are the same after the policy changed: sync_weights had no effect",
        )
        _require_logprobs(case, after, 1.0, "after sync_weights, ")
    finally:
        with torch.no_grad():
            for p, old in zip(trained, kept, strict=True):
                p.copy_(old)
        case.backend.sync_weights(9)


def _require_version(batch: RolloutBatch, version: int) -> None:
    versions = sorted(set(batch.weights_versions_B.tolist()))
    require(
        versions == [version],
        f"weights_versions_B must be {version} everywhere after sync_weights({version}); got {versions}",
    )


def _require_logprobs(case: _Case, batch: RolloutBatch, temperature: float, when: str = "") -> None:
    logprobs_of = _reference(case)
    for index, row in enumerate(_tokens(batch)):
        prompt = batch.prompts[int(batch.group_ids_B[index])]
        table = logprobs_of(prompt.token_ids, row, temperature)
        expected = table.gather(1, torch.tensor(row, device=table.device)[:, None])[:, 0].cpu()
        got = batch.rollout_logprobs_BT[index, : len(row)].cpu()
        worst = float((got - expected).abs().max())
        require(
            worst <= case.tolerance,
            f"{when}a log-probability differs by {worst:.2g} from that of a forward pass of the policy (temperature"
            f" {temperature}, prompt of {len(prompt.token_ids)} tokens); allowed: {case.tolerance:.2g}",
        )


def _reference(case: _Case) -> Callable[[Sequence[int], Sequence[int], float], Tensor]:
    """Log-probabilities (T, V) by the plainest route: a copy of the policy, its own attention, row by row, no cache."""
    model: Any = copy.deepcopy(case.policy.model)
    model.eval()
    (model.get_base_model() if hasattr(model, "get_base_model") else model).set_attn_implementation("eager")

    def logprobs_of(prompt: Sequence[int], completion: Sequence[int], temperature: float) -> Tensor:
        ids = torch.tensor([[*prompt, *completion]], device=next(model.parameters()).device)
        with torch.no_grad():
            logits: Tensor = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        return (logits / temperature).log_softmax(-1)

    return logprobs_of


def _tokens(batch: RolloutBatch) -> list[tuple[int, ...]]:
    return [completion.token_ids for completion in batch.completions()]


def _require_same(one: RolloutBatch, other: RolloutBatch, otherwise: str, case: _Case) -> None:
    require(_tokens(one) == _tokens(other) and one.texts == other.texts, otherwise)
    worst = float((one.rollout_logprobs_BT - other.rollout_logprobs_BT).abs().max())
    require(worst <= case.tolerance, f"{otherwise}: log-probabilities differ by {worst:.2g}")
