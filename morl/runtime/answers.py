"""What a rollout backend answers, checked where it enters: later a wrong id or number is an error without a culprit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from morl.errors import DataError, PluginError, RolloutError
from morl.prompts.encode import NOT_THE_MODELS
from morl.types import EncodedPrompt, RolloutBatch

ROUNDING = 0.1
"""How far above 0 rounding lifts a log-probability: half a unit in the last place of a bfloat16 logit of 16 is 0.03."""

_KINDS = {
    "completion_ids_BT": ((torch.int64, torch.int32), "ids, torch.int64"),
    "group_ids_B": ((torch.int64, torch.int32), "torch.int64"),
    "weights_versions_B": ((torch.int64, torch.int32), "torch.int64"),
    "completion_mask_BT": ((torch.bool,), "torch.bool"),
    "truncated_B": ((torch.bool,), "torch.bool"),
    "rollout_logprobs_BT": ((torch.float32, torch.float64, torch.bfloat16, torch.float16), "torch.float32"),
}


def check_contexts(prompts: Sequence[EncodedPrompt], vocabulary: int | None) -> None:
    """Refuses what the model cannot read, before a backend is asked to.

    Args:
        prompts: what the policy is to continue.
        vocabulary: ids that the model knows; None checks nothing.

    Raises:
        DataError: a token id outside of it.
    """
    if vocabulary is None:
        return
    for prompt in prompts:
        wrong = next((token for token in prompt.token_ids if not 0 <= token < vocabulary), None)
        if wrong is not None:
            raise DataError(
                f"what the policy is to continue for the prompt of row {prompt.index} holds the token id {wrong}, and"
                f" the model's vocabulary has {vocabulary}: {NOT_THE_MODELS}"
            )


def check_answer(batch: RolloutBatch, name: str, vocabulary: int | None, *, conversations: bool = False) -> None:
    """Refuses a batch that no backend may give.

    Args:
        batch: the answer.
        name: of the backend, as errors say it.
        vocabulary: ids that the model knows; None leaves them unchecked.
        conversations: a completion may be without a token, where its environment failed.

    Raises:
        PluginError: tensors of another type or elsewhere than on the CPU, texts that are none, rows that are not
            right-padded, completions without a token, ids that are not the model's.
        RolloutError: log-probabilities that are none.
    """
    for field, (kinds, expected) in _KINDS.items():
        values = getattr(batch, field)
        if values.dtype not in kinds:
            raise PluginError(f"{name} returned {field} of type {values.dtype}; expected {expected}")
        if values.device.type != "cpu":
            raise PluginError(f"{name} returned {field} on {values.device}; expected it on the CPU: call .cpu()")
    for row, text in enumerate(batch.texts):
        if not isinstance(text, str):
            raise PluginError(f"{name} returned {type(text).__name__} for the text of completion {row}; expected str")
    mask_BT = batch.completion_mask_BT
    if (mask_BT[:, 1:] & ~mask_BT[:, :-1]).any():
        raise PluginError(f"{name} returned a completion_mask_BT with gaps; expected rows that are padded on the right")
    empty_B = ~mask_BT.any(1)
    if empty_B.any() and not conversations:
        raise PluginError(
            f"{name} returned no token for completion {int(empty_B.nonzero()[0])}; expected one at least, for the"
            " end-of-sequence token is a part of a completion"
        )
    if vocabulary is not None:
        _check_ids(batch, name, vocabulary)
    _check_logprobs(batch, name)


def _check_ids(batch: RolloutBatch, name: str, vocabulary: int) -> None:
    ids_BT = batch.completion_ids_BT
    wrong_BT = batch.completion_mask_BT & ((ids_BT < 0) | (ids_BT >= vocabulary))
    if wrong_BT.any():
        row, place = _first(wrong_BT)
        raise PluginError(
            f"{name} returned the token id {int(ids_BT[row, place])} at token {place} of completion {row}, and the"
            f" model's vocabulary has {vocabulary}: it runs another model, or its tokenizer has tokens that the model"
            " lacks"
        )


def _check_logprobs(batch: RolloutBatch, name: str) -> None:
    values_BT = batch.rollout_logprobs_BT
    wrong_BT = batch.sampled_mask_BT & ~(values_BT.isfinite() & (values_BT <= ROUNDING))
    if wrong_BT.any():
        row, place = _first(wrong_BT)
        raise RolloutError(
            f"{name} returned the log-probability {float(values_BT[row, place]):g} for token {place} of completion"
            f" {row}, and {int(wrong_BT.sum())} like it; expected finite numbers of at most 0, the natural logarithm"
            " of softmax(logits / temperature) at the token"
        )


def _first(wrong_BT: Tensor) -> tuple[int, int]:
    row, place = wrong_BT.nonzero()[0].tolist()
    return row, place
