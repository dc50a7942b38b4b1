"""The type in which rollouts travel: completions of many prompts side by side, as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from attrs import evolve, field, fields, frozen
from torch import Tensor

from morl.completions import Completion, CompletionStatus, Prompt, Spans, Turn, only_turn, plain_status
from morl.sampling import Sampling


@frozen(eq=False)
class EncodedPrompt:
    """A prompt as the policy reads it.

    Attributes:
        prompt: where it came from.
        text: what the tokenizer was given.
        token_ids: at least one token.
        index: row of the prompt in its source.
        sampling: how its completions are drawn, where its row says so (`sampling.overrides_column`); None: as those of
            all.
    """

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...]
    index: int = 0
    sampling: Sampling | None = None

    def sampled(self, sampling: Sampling, keep: Sequence[str] = ()) -> EncodedPrompt:
        """The prompt as it is drawn from under the section `sampling`, `keep` left as it is there."""
        if sampling.overrides_column is None:
            return self
        return evolve(self, sampling=sampling.of(self.prompt.columns, keep))


@frozen(eq=False)
class RolloutBatch:
    """Completions of one generation call, the G completions of a prompt side by side.  All tensors are on the CPU.

    A backend that samples every completion in one go gives the fields up to `weights_versions_B`; the others then say
    that every token was sampled, in one turn.

    Attributes:
        prompts: P prompts.
        group_ids_B: row of each completion's prompt in `prompts`, int64.
        completion_ids_BT: every token after the prompt, those of an environment included, right-padded with 0, int64.
        completion_mask_BT: True where there is a token.
        rollout_logprobs_BT: log-probability of each sampled token under softmax(logits / temperature), before top-p
            and top-k cut the distribution (temperature 0: under temperature 1); float32, 0 everywhere else.
        truncated_B: a limit of tokens ended the (last) turn, before it ended by itself.
        texts: B decoded texts, without special tokens; of a conversation, that of the last turn.
        weights_versions_B: version, as `sync_weights` was told it, of the weights that drew each completion; int64.
        sampled_mask_BT: True at the tokens that the policy drew.  These alone have a log-probability, a loss and an
            advantage, and count as length.  Default: `completion_mask_BT`.
        turns: of each completion its turns, which together are its sampled tokens.  Default: one, of all its tokens;
            must be given where not every token was sampled.
        statuses: of each completion, how it ended.  Default: truncated or completed, as `truncated_B` says.
        infos: of each completion, what an environment has to say about it.  Default: nothing.

    Raises:
        ValueError: tensors of other shapes; masks, turns or statuses that contradict each other.
    """

    prompts: tuple[EncodedPrompt, ...]
    group_ids_B: Tensor
    completion_ids_BT: Tensor
    completion_mask_BT: Tensor
    rollout_logprobs_BT: Tensor
    truncated_B: Tensor
    texts: tuple[str, ...]
    weights_versions_B: Tensor
    # None stands for the default, so that it follows the other fields where `attrs.evolve` changes them.
    _sampled_mask_BT: Tensor | None = field(default=None, kw_only=True)
    _turns: tuple[tuple[Turn, ...], ...] | None = field(default=None, kw_only=True)
    _statuses: tuple[CompletionStatus, ...] | None = field(default=None, kw_only=True)
    _infos: tuple[Mapping[str, Any], ...] | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        B = _check_shapes(self)
        for name in ("texts", "_turns", "_statuses", "_infos"):
            column = getattr(self, name)
            if column is not None and len(column) != B:
                raise ValueError(
                    f"{name.lstrip('_')} must have one entry for each of the {B} completions; got {len(column)}"
                )
        if self._sampled_mask_BT is not None:
            _check_sampled(self._sampled_mask_BT, self.completion_mask_BT, turns_given=self._turns is not None)
        if self._statuses is not None:
            _check_statuses(self._statuses, self.truncated_B.tolist())
        if self._turns is not None:
            _check_turns(self._turns, self.sampled_mask_BT, self.truncated_B.tolist(), self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def sampled_mask_BT(self) -> Tensor:
        return self.completion_mask_BT if self._sampled_mask_BT is None else self._sampled_mask_BT

    @property
    def lengths_B(self) -> Tensor:
        """Number of sampled tokens of each completion, int64."""
        return self.sampled_mask_BT.sum(1)

    @property
    def total_lengths_B(self) -> Tensor:
        """Number of tokens of each completion, those of an environment included, int64."""
        return self.completion_mask_BT.sum(1)

    @property
    def turns(self) -> tuple[tuple[Turn, ...], ...]:
        if self._turns is not None:
            return self._turns
        rows = zip(self.texts, self.lengths_B.tolist(), self.truncated_B.tolist(), strict=True)
        return tuple((only_turn(*row),) for row in rows)

    @property
    def spans(self) -> tuple[Spans, ...]:
        """Of each completion, where its turns lie."""
        if self._turns is not None:
            return tuple(tuple((turn.start, turn.end) for turn in turns) for turns in self._turns)
        return tuple(((0, length),) for length in self.lengths_B.tolist())

    @property
    def statuses(self) -> tuple[CompletionStatus, ...]:
        return tuple(map(plain_status, self.truncated_B.tolist())) if self._statuses is None else self._statuses

    @property
    def infos(self) -> tuple[Mapping[str, Any], ...]:
        return ({},) * len(self) if self._infos is None else self._infos

    def completions(self, logprobs_BT: Tensor | None = None, reference_BT: Tensor | None = None) -> list[Completion]:
        """The rows as reward providers see them.

        Args:
            logprobs_BT: of the policy, where a reward wants to know them.
            reference_BT: of the reference policy, likewise.
        """
        infos = self.infos
        policys, references = map(self._of_sampled, (logprobs_BT, reference_BT))
        token_ids = self.completion_ids_BT[self.sampled_mask_BT].split(self.lengths_B.tolist())
        rows = zip(token_ids, self.group_ids_B.tolist(), self.truncated_B.tolist(), self.texts, strict=True)
        return [
            Completion(
                self.prompts[group].prompt,
                text,
                tuple(ids.tolist()),
                truncated,
                turns=None if self._turns is None else self._turns[b],
                status=None if self._statuses is None else self._statuses[b],
                info=infos[b],
                logprobs=policys[b],
                reference_logprobs=references[b],
            )
            for b, (ids, group, truncated, text) in enumerate(rows)
        ]

    def _of_sampled(self, values_BT: Tensor | None) -> tuple[tuple[float, ...] | None, ...]:
        if values_BT is None:
            return (None,) * len(self)
        parts = values_BT[self.sampled_mask_BT].split(self.lengths_B.tolist())
        return tuple(tuple(part.tolist()) for part in parts)

    def select(self, rows: Sequence[int]) -> RolloutBatch:
        """These completions only, in this order; `prompts` stays whole."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        longest = int(self.total_lengths_B[index].max()) if len(index) else 0

        def chosen(column: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
            return None if column is None else tuple(column[row] for row in index.tolist())

        mask_BT = self._sampled_mask_BT
        return evolve(
            self,
            group_ids_B=self.group_ids_B[index],
            completion_ids_BT=self.completion_ids_BT[index, :longest],
            completion_mask_BT=self.completion_mask_BT[index, :longest],
            rollout_logprobs_BT=self.rollout_logprobs_BT[index, :longest],
            truncated_B=self.truncated_B[index],
            texts=tuple(self.texts[row] for row in index.tolist()),
            weights_versions_B=self.weights_versions_B[index],
            sampled_mask_BT=None if mask_BT is None else mask_BT[index, :longest],
            turns=chosen(self._turns),
            statuses=chosen(self._statuses),
            infos=chosen(self._infos),
        )

    @staticmethod
    def concatenate(batches: Sequence[RolloutBatch]) -> RolloutBatch:
        """One batch of all rows; prompts are appended and group ids shifted accordingly."""
        longest = max(batch.completion_ids_BT.shape[1] for batch in batches)
        offsets = [0]
        for batch in batches:
            offsets.append(offsets[-1] + len(batch.prompts))

        def given(name: str) -> bool:
            return any(getattr(batch, f"_{name}") is not None for batch in batches)

        def padded(name: str) -> Tensor:
            parts = [getattr(batch, name) for batch in batches]
            return torch.cat([torch.nn.functional.pad(part, (0, longest - part.shape[1])) for part in parts])

        def joined(name: str) -> tuple[Any, ...]:
            return tuple(entry for batch in batches for entry in getattr(batch, name))

        return RolloutBatch(
            prompts=joined("prompts"),
            group_ids_B=torch.cat([b.group_ids_B + offset for b, offset in zip(batches, offsets, strict=False)]),
            completion_ids_BT=padded("completion_ids_BT"),
            completion_mask_BT=padded("completion_mask_BT"),
            rollout_logprobs_BT=padded("rollout_logprobs_BT"),
            truncated_B=torch.cat([batch.truncated_B for batch in batches]),
            texts=joined("texts"),
            weights_versions_B=torch.cat([batch.weights_versions_B for batch in batches]),
            sampled_mask_BT=padded("sampled_mask_BT") if given("sampled_mask_BT") else None,
            turns=joined("turns") if given("turns") else None,
            statuses=joined("statuses") if given("statuses") else None,
            infos=joined("infos") if given("infos") else None,
        )


def _check_shapes(batch: RolloutBatch) -> int:
    """The number of completions, of which every tensor has as many."""
    tensors = [(each.name, getattr(batch, each.name)) for each in fields(RolloutBatch)[1:8] if each.name != "texts"]
    for name, values in tensors:
        if not isinstance(values, Tensor):
            raise ValueError(f"{name} must be a tensor; got {type(values).__name__}")
    ids_BT = batch.completion_ids_BT
    if ids_BT.ndim != 2:
        raise ValueError(f"completion_ids_BT must be (B, T), completions by tokens; got {tuple(ids_BT.shape)}")
    for name, values in tensors:
        expected = ids_BT.shape if name.endswith("BT") else ids_BT.shape[:1]
        if values.shape != expected:
            raise ValueError(
                f"{name} must be {tuple(expected)}, for completion_ids_BT is {tuple(ids_BT.shape)};"
                f" got {tuple(values.shape)}"
            )
    return len(ids_BT)


def _check_sampled(sampled_BT: Tensor, tokens_BT: Tensor, *, turns_given: bool) -> None:
    if sampled_BT.shape != tokens_BT.shape or sampled_BT.dtype != torch.bool:
        raise ValueError(
            f"sampled_mask_BT must be a bool tensor {tuple(tokens_BT.shape)}, as completion_mask_BT;"
            f" got {tuple(sampled_BT.shape)} {sampled_BT.dtype}"
        )
    if (sampled_BT & ~tokens_BT.bool()).any():
        raise ValueError("sampled_mask_BT is True where completion_mask_BT says there is no token")
    if not turns_given and not torch.equal(sampled_BT, tokens_BT.bool()):
        raise ValueError("sampled_mask_BT leaves tokens out: say in `turns` where the turns of each completion lie")


def _check_statuses(statuses: Sequence[CompletionStatus], truncated: Sequence[bool]) -> None:
    for row, (status, cut) in enumerate(zip(statuses, truncated, strict=True)):
        if not isinstance(status, CompletionStatus):
            raise ValueError(
                f"the status of completion {row} must be one of morl.types.CompletionStatus"
                f" ({', '.join(CompletionStatus)}); got {status!r}"
            )
        if status in (CompletionStatus.TRUNCATED, CompletionStatus.COMPLETED) and status != plain_status(cut):
            raise ValueError(f"completion {row} has the status {status.value!r}, but truncated_B says {cut}")


def _check_turns(
    turns: Sequence[Sequence[Turn]], sampled_BT: Tensor, truncated: Sequence[bool], texts: Sequence[str]
) -> None:
    covered_BT = torch.zeros_like(sampled_BT)
    for row, own in enumerate(turns):
        spans = [(turn.start, turn.end) for turn in own]
        edges = [edge for span in spans for edge in span]
        if any(left >= right for left, right in spans) or any(left > right for left, right in pairwise(edges)):
            raise ValueError(f"turns of completion {row} must have tokens and follow each other; got {spans}")
        for start, end in spans:
            covered_BT[row, start:end] = True
        if own and (own[-1].truncated, own[-1].text) != (truncated[row], texts[row]):
            raise ValueError(
                f"`text` and `truncated` of the last turn of completion {row} are not those of the batch; got"
                f" {own[-1].text!r}, {own[-1].truncated} beside {texts[row]!r}, {truncated[row]}"
            )
    wrong_B = (covered_BT != sampled_BT).any(1)
    if wrong_B.any():
        row = int(wrong_B.nonzero()[0])
        spans = [(turn.start, turn.end) for turn in turns[row]]
        raise ValueError(f"turns of completion {row} lie at {spans}, which is not where sampled_mask_BT is True")
