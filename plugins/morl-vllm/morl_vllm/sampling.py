"""morl's sampling in vLLM's terms, and vLLM's answers in morl's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from attrs import frozen

from morl.rollout.ends import StopStrings
from morl.types import EncodedPrompt, RolloutBatch, Sampling


def spread_seed(seed: int) -> int:
    """The seed of a prompt's first completion; vLLM adds 1 for each of the others.

    Seeds of neighbouring prompts may be neighbouring numbers, so they are scattered: else the second completion of one
    would share its random numbers with the first of the next.

    >>> abs(spread_seed(1) - spread_seed(0)) > 2**32
    True
    """
    digest = hashlib.blake2b(seed.to_bytes(8, "little"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2  # room for as many members as anybody draws, below 2**63


def sampling_params(sampling: Sampling, n: int, seeds: Sequence[int], end_ids: frozenset[int]) -> list[Any]:
    """`vllm.SamplingParams`, one for each prompt.

    Their temperature is 1, for the engine divides the logits itself, see `PolicyWorker.morl_set_temperature`; or 0.
    """
    from vllm import SamplingParams

    greedy = sampling.temperature == 0.0
    return [
        SamplingParams(
            n=1 if greedy else n,  # vLLM refuses to take the likeliest token n times
            temperature=0.0 if greedy else 1.0,
            top_p=1.0 if greedy else sampling.top_p,
            top_k=0 if greedy else sampling.top_k,
            seed=spread_seed(seed),
            max_tokens=sampling.max_tokens,
            # morl's ends, which may be other ones than those that the engine reads from the tokenizer.
            ignore_eos=True,
            stop_token_ids=sorted(end_ids),
            stop=list(sampling.stop),
            include_stop_str_in_output=True,
            detokenize=bool(sampling.stop),
            logprobs=0,
            flat_logprobs=True,
        )
        for seed in seeds
    ]


@frozen
class _Row:
    token_ids: list[int]
    logprobs: list[float]
    truncated: bool


def rollout_batch(
    prompts: Sequence[EncodedPrompt],
    n: int,
    outputs: Sequence[Any],
    stops: StopStrings | None,
    tokenizer: Any,
    version: int,
) -> RolloutBatch:
    """What was drawn, as morl hands it on.

    Args:
        prompts: P prompts.
        n: completions of each; an answer that holds only one, at temperature 0, is repeated.
        outputs: P `vllm.RequestOutput`.
        stops: the stop strings, if there are any.
        tokenizer: decodes the texts.
        version: of the weights.
    """
    rows = []
    for output in outputs:
        members = [_row(member, stops) for member in output.outputs]
        rows += [members[member % len(members)] for member in range(n)]
    lengths_B = torch.tensor([len(row.token_ids) for row in rows])
    T = int(lengths_B.max())
    mask_BT = torch.arange(T) < lengths_B[:, None]
    ids_BT = torch.zeros(len(rows), T, dtype=torch.int64)
    ids_BT[mask_BT] = torch.tensor([token for row in rows for token in row.token_ids])
    # Not the default dtype, which Lightning sets to that of a half-precision run.
    logprobs_BT = torch.zeros(len(rows), T, dtype=torch.float32)
    logprobs_BT[mask_BT] = torch.tensor([value for row in rows for value in row.logprobs], dtype=torch.float32)
    return RolloutBatch(
        prompts=tuple(prompts),
        group_ids_B=torch.arange(len(prompts)).repeat_interleave(n),
        completion_ids_BT=ids_BT,
        completion_mask_BT=mask_BT,
        rollout_logprobs_BT=logprobs_BT,
        truncated_B=torch.tensor([row.truncated for row in rows]),
        texts=tuple(tokenizer.batch_decode([row.token_ids for row in rows], skip_special_tokens=True)),
        weights_version=version,
    )


def _row(member: Any, stops: StopStrings | None) -> _Row:
    """One completion; cut where a stop string ends by morl's rule.

    The engine mostly stopped there by itself.  It does not where a stop string holds half a character, which it keeps
    back until the other half is drawn.
    """
    tokens, logprobs = list(member.token_ids), list(member.logprobs.logprobs)
    if stops is not None:
        seen: list[int] = []
        for token in tokens:
            seen.append(token)
            if stops.ended(seen):
                return _Row(seen, logprobs[: len(seen)], False)
    return _Row(tokens, logprobs, member.finish_reason == "length")
