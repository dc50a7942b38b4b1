"""morl's sampling in vLLM's terms, and vLLM's answers in morl's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import frozen

from morl.errors import ConfigError
from morl.rollout.ends import StopStrings
from morl.sampling import CONSTRAINTS
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


SERVER_OPTIONS = frozenset({"stop_token_ids", "min_p", "repetition_penalty"})
"""Further settings of `morl.types.Sampling` that servers know."""

SAMPLING_OPTIONS = SERVER_OPTIONS | {*CONSTRAINTS}
"""Those that an engine in the training process knows."""


def is_constrained(sampling: Sampling) -> bool:
    """Whether completions have to follow a language."""
    return any(getattr(sampling, name) is not None for name in CONSTRAINTS)


def check_sampling(sampling: Sampling) -> None:
    """Refuses what vLLM would draw from another distribution than morl says.

    Raises:
        ConfigError: top-p together with min-p, which vLLM applies in the other order.
    """
    if sampling.min_p > 0.0 and sampling.top_p < 1.0:
        raise ConfigError(
            "sampling.min_p and sampling.top_p: vLLM cuts by min-p first, and then takes top-p of what is left, where"
            " morl and transformers cut by top-p first; set one of the two, or rollout.name=transformers"
        )


def check_server_sampling(sampling: Sampling) -> None:
    """As `check_sampling`, of servers.

    Raises:
        ConfigError: as there; a constraint.
    """
    for name in CONSTRAINTS:
        if getattr(sampling, name) is not None:
            raise ConfigError(
                f"sampling.{name}: servers do not take constraints: vLLM's own writes them into the logits before it"
                " takes log-probabilities from them, so these would be of another distribution than those of training,"
                " and morl's masks are made in the training process; set rollout.name to vllm or transformers"
            )
    check_sampling(sampling)


def sampling_params(
    sampling: Sampling,
    n: int,
    seeds: Sequence[int],
    end_ids: frozenset[int],
    extra_args: Mapping[str, str] | None = None,
    member: int = 0,
) -> list[Any]:
    """`vllm.SamplingParams`, one for each prompt.

    Their temperature is 1, for the engine divides the logits itself, see `PolicyWorker.morl_set_temperature`; or 0.

    Args:
        sampling: how completions are drawn.
        n: completions of each prompt.
        seeds: one for each.
        end_ids: tokens that end a completion.
        extra_args: what `morl_vllm.constraint.announce` gave.
        member: number of the first of these completions among those of its prompt.
    """
    from vllm import SamplingParams

    greedy = sampling.temperature == 0.0
    return [
        SamplingParams(
            n=1 if greedy else n,  # vLLM refuses n greedy completions
            temperature=0.0 if greedy else 1.0,
            top_p=1.0 if greedy else sampling.top_p,
            top_k=0 if greedy else sampling.top_k,
            min_p=0.0 if greedy else sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            seed=spread_seed(seed) + member,
            max_tokens=sampling.max_tokens,
            # morl's ends, which may be other ones than those that the engine reads from the tokenizer.
            ignore_eos=True,
            stop_token_ids=sorted(end_ids),
            stop=list(sampling.stop),
            include_stop_str_in_output=True,
            detokenize=bool(sampling.stop),
            logprobs=0,
            flat_logprobs=True,
            extra_args=dict(extra_args or {}) or None,
        )
        for seed in seeds
    ]


@frozen
class Drawn:
    """One completion, as the engine drew it.

    Attributes:
        token_ids: sampled tokens.
        logprobs: one for each.
        truncated: ended by the token limit.
    """

    token_ids: list[int]
    logprobs: list[float]
    truncated: bool

    @classmethod
    def members(cls, output: Any) -> list[Drawn]:
        """The completions of a `vllm.RequestOutput`."""
        return [
            cls(list(one.token_ids), list(one.logprobs.logprobs), one.finish_reason == "length")
            for one in output.outputs
        ]

    def cut(self, stops: StopStrings) -> Drawn:
        """Only what comes before and with a stop string, by morl's rule.

        The engine mostly stopped there by itself.  It does not where a stop string holds half a character, which it
        keeps back until the other half is drawn.
        """
        seen: list[int] = []
        for token in self.token_ids:
            seen.append(token)
            if stops.ended(seen):
                return Drawn(seen, self.logprobs[: len(seen)], False)
        return self


def rollout_batch(
    prompts: Sequence[EncodedPrompt],
    n: int,
    groups: Sequence[Sequence[Drawn]],
    stop: Sequence[str],
    tokenizer: Any,
    versions: Sequence[int],
) -> RolloutBatch:
    """What was drawn, as morl hands it on.

    Args:
        prompts: P prompts.
        n: completions of each; a group of only one, at temperature 0, is repeated.
        groups: P groups.
        stop: stop strings.
        tokenizer: decodes the texts.
        versions: of the weights that drew each group.
    """
    stops = StopStrings(stop, tokenizer) if stop else None
    rows: list[Drawn] = []
    for group in groups:
        members = group if stops is None else [member.cut(stops) for member in group]
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
        weights_versions_B=torch.tensor(versions).repeat_interleave(n),
    )
