"""From conversations to the batch that is learned from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from morl.conversation.talk import Talk
from morl.types import EncodedPrompt, RolloutBatch


def assembled(prompts: Sequence[EncodedPrompt], talks: Sequence[Talk], version: int) -> RolloutBatch:
    """The batch of these conversations.

    Args:
        prompts: as the policy read them.
        talks: all of them over, in the order of the prompts.
        version: of the weights, for conversations without a turn.
    """
    assert all(talk.status is not None for talk in talks)
    longest = max(len(talk.ids) for talk in talks)
    ids_BT = torch.zeros(len(talks), longest, dtype=torch.int64)
    logprobs_BT = torch.zeros(len(talks), longest, dtype=torch.float32)
    tokens_BT, sampled_BT = (torch.zeros(len(talks), longest, dtype=torch.bool) for _ in range(2))
    for b, talk in enumerate(talks):
        length = len(talk.ids)
        ids_BT[b, :length] = torch.tensor(talk.ids, dtype=torch.int64)
        logprobs_BT[b, :length] = torch.tensor(talk.logprobs, dtype=torch.float32)
        tokens_BT[b, :length] = True
        sampled_BT[b, :length] = torch.tensor(talk.sampled, dtype=torch.bool)
    last = [talk.turns[-1] if talk.turns else None for talk in talks]
    return RolloutBatch(
        prompts=tuple(prompts),
        group_ids_B=torch.tensor([talk.group for talk in talks]),
        completion_ids_BT=ids_BT,
        completion_mask_BT=tokens_BT,
        rollout_logprobs_BT=logprobs_BT,
        truncated_B=torch.tensor([turn is not None and turn.truncated for turn in last]),
        texts=tuple("" if turn is None else turn.text for turn in last),
        weights_versions_B=torch.tensor([version if talk.version is None else talk.version for talk in talks]),
        sampled_mask_BT=sampled_BT,
        turns=tuple(tuple(talk.turns) for talk in talks),
        statuses=tuple(talk.status for talk in talks if talk.status is not None),
        infos=tuple(talk.whole_info() for talk in talks),
    )
