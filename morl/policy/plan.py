"""What one forward call of the policy computes, packed or padded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import evolve, frozen
from torch import Tensor

from morl.policy.packing import SharedPromptAttention
from morl.policy.segments import lay_out


@frozen(eq=False)
class TrainingPlan:
    """Inputs of the model, and where the log-probabilities of the sampled tokens are found in its output.

    Packed: R = 1, S = all tokens that some sampled token needs.  Padded: one row per completion.

    Attributes:
        input_ids_RS: tokens.
        position_ids_RS: positions, each row's own.
        kept: columns of S whose logits are computed, the same ones for all rows.
        rows_T: for each sampled token, the row of the flattened R x kept logits that predicts it.
        targets_T: the sampled tokens, completion by completion.
        temperature: divides the logits; (T,) where completions have temperatures of their own.
        attention: who sees whom; None for the model's own causal attention.
    """

    input_ids_RS: Tensor
    position_ids_RS: Tensor
    kept: Tensor
    rows_T: Tensor
    targets_T: Tensor
    temperature: float | Tensor = 1.0
    attention: SharedPromptAttention | None = None

    def to(self, device: torch.device | str) -> TrainingPlan:
        """The same plan on another device."""
        names = ["input_ids_RS", "position_ids_RS", "kept", "rows_T", "targets_T"]
        names += ["temperature"] if isinstance(self.temperature, Tensor) else []
        return evolve(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


@frozen(eq=False)
class CompletionRows:
    """The completions of a batch, checked, on the CPU.

    Attributes:
        prompts: token ids of every prompt of the batch.
        groups: prompt of each completion.
        ids_BT: completion tokens, right-padded.
        sampled_BT: True at the tokens whose log-probabilities are wanted; the others are only read.
        lengths: number of tokens of each completion up to the last of `sampled_BT`; what follows it changes nothing.
    """

    prompts: Sequence[Sequence[int]]
    groups: list[int]
    ids_BT: Tensor
    sampled_BT: Tensor
    lengths: list[int]

    @classmethod
    def check(
        cls,
        prompt_ids: Sequence[Sequence[int]],
        group_ids_B: Tensor,
        ids_BT: Tensor,
        mask_BT: Tensor,
        sampled_BT: Tensor | None = None,
    ) -> CompletionRows:
        """Checked input of `PolicyModel.make_plan`.

        Raises:
            ValueError: shapes that do not fit, no prompt, an empty prompt, a group id without prompt, padding that is
                not at the end, a sampled token at padding.
        """
        if ids_BT.ndim != 2 or mask_BT.shape != ids_BT.shape or group_ids_B.shape != ids_BT.shape[:1]:
            raise ValueError(
                "expected completion ids (B, T), mask (B, T) and group ids (B,);"
                f" got {tuple(ids_BT.shape)}, {tuple(mask_BT.shape)} and {tuple(group_ids_B.shape)}"
            )
        empty = [index for index, ids in enumerate(prompt_ids) if len(ids) == 0]
        if empty or not len(prompt_ids):
            raise ValueError(f"every prompt needs at least one token; empty: {empty or 'the list of prompts'}")
        groups = group_ids_B.tolist()
        if groups and not 0 <= min(groups) <= max(groups) < len(prompt_ids):
            raise ValueError(f"group ids must lie in 0..{len(prompt_ids) - 1}; got {min(groups)}..{max(groups)}")
        mask = mask_BT.cpu().bool()
        columns = torch.arange(mask.shape[1])
        if not torch.equal(mask, columns < mask.sum(1, keepdim=True)):
            raise ValueError("completions must be right-padded: the mask has gaps")
        sampled = mask if sampled_BT is None else sampled_BT.cpu().bool()
        if sampled.shape != mask.shape or (sampled & ~mask).any():
            raise ValueError(
                f"the mask of sampled tokens {tuple(sampled.shape)} must lie within that of tokens {tuple(mask.shape)}"
            )
        lengths = ((columns + 1) * sampled).amax(1) if len(columns) else mask.sum(1)
        return cls(prompt_ids, groups, ids_BT.cpu(), sampled, lengths.tolist())

    @property
    def used(self) -> list[int]:
        """Rows that have sampled tokens."""
        return [row for row, length in enumerate(self.lengths) if length]

    def spread(self, values_B: Tensor) -> Tensor:
        """What belongs to completions, at each of their sampled tokens (T,)."""
        return values_B.cpu().repeat_interleave(self.sampled_BT.sum(1))


def packed_plan(batch: CompletionRows, temperature: float | Tensor) -> TrainingPlan:
    """One flat axis: every used prompt once, then its completions without padding.

    A completion's last token predicts nothing that is asked for, so it is not computed.  Neighbours of equal length are
    cheapest, hence the sorting.
    """
    # With no token at all a rank still has to take part in the collectives of a sharded forward.
    used = {batch.groups[row] for row in batch.used} or {0}
    prompts = sorted(used, key=lambda prompt: len(batch.prompts[prompt]))
    rank = {prompt: index for index, prompt in enumerate(prompts)}
    rows = [row for row in batch.used if batch.lengths[row] > 1]
    rows.sort(key=lambda row: (rank[batch.groups[row]], batch.lengths[row]))
    completion_lengths: list[list[int]] = [[] for _ in prompts]
    for row in rows:
        completion_lengths[rank[batch.groups[row]]].append(batch.lengths[row] - 1)
    segments = lay_out([len(batch.prompts[prompt]) for prompt in prompts], completion_lengths)

    input_ids = [torch.tensor(batch.prompts[prompt]) for prompt in prompts]
    input_ids += [batch.ids_BT[row, : batch.lengths[row] - 1] for row in rows]
    position_ids = [torch.arange(s.prompt_length, s.prompt_length + s.length) for s in segments]

    # The prompt's last token predicts a completion's first; from there each token predicts the next.
    first_B, start_B = torch.zeros(2, len(batch.groups), dtype=torch.int64)
    for row in batch.used:
        prompt = segments[rank[batch.groups[row]]]
        first_B[row] = prompt.start + prompt.length - 1
    for row, segment in zip(rows, segments[len(prompts) :], strict=True):
        start_B[row] = segment.start
    predictor_BT = start_B.unsqueeze(1) + torch.arange(batch.ids_BT.shape[1]) - 1
    predictor_BT[:, :1] = first_B.unsqueeze(1)
    kept, rows_T = torch.unique(predictor_BT[batch.sampled_BT], return_inverse=True)
    return TrainingPlan(
        input_ids_RS=torch.cat(input_ids).unsqueeze(0),
        position_ids_RS=torch.cat(position_ids).unsqueeze(0),
        kept=kept if len(kept) else torch.zeros(1, dtype=torch.int64),
        rows_T=rows_T,
        targets_T=batch.ids_BT[batch.sampled_BT],
        temperature=temperature,
        attention=SharedPromptAttention(segments),
    )


def padded_plan(batch: CompletionRows, temperature: float | Tensor) -> TrainingPlan:
    """One right-padded row of prompt and completion per completion, for models whose attention cannot be planned.

    Whatever follows a token cannot change it in a causal model, recurrent ones included, so padding at the right needs
    no mask, and positions are the default ones.
    """
    rows = batch.used
    prompts = [batch.prompts[batch.groups[row]] for row in rows] or [batch.prompts[0]]
    completions = [batch.ids_BT[row, : batch.lengths[row]].tolist() for row in rows] or [[]]
    sequences = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    prompt_lengths = torch.tensor([len(prompt) for prompt in prompts])
    longest = max(map(len, sequences))
    row_T, column_T = batch.sampled_BT[rows].nonzero(as_tuple=True)
    kept, place_T = torch.unique(prompt_lengths[row_T] - 1 + column_T, return_inverse=True)
    if not len(kept):
        kept = prompt_lengths[:1] - 1
    input_ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids in sequences])
    return TrainingPlan(
        input_ids_RS=input_ids,
        position_ids_RS=torch.arange(longest).expand(len(sequences), -1),
        kept=kept,
        rows_T=row_T * len(kept) + place_T,
        targets_T=batch.ids_BT[batch.sampled_BT],
        temperature=temperature,
    )
