"""The rollout backend that needs nothing but `transformers`: it samples from the very policy that is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, ClassVar

import torch
from attrs import define, field, validators
from torch import Tensor, nn

from morl.errors import RolloutError
from morl.policy.attention import ATTENTION
from morl.rollout.constraint import Constraint, constraint_of
from morl.rollout.context import check_context, check_prompts
from morl.rollout.ends import StopStrings, end_ids
from morl.rollout.loop import Decoder, Drawn, sample
from morl.rollout.packed import PackedDecoder
from morl.rollout.remains import Known, KnownContexts
from morl.rollout.replica import build_replica, copy_weights, is_sharded
from morl.rollout.resume_trial import can_resume
from morl.rollout.resumed import ResumedDecoder
from morl.rollout.trial import Decoding, attention, choose_decoding, evaluating, make_decoder
from morl.sampling import CONSTRAINTS
from morl.types import EncodedPrompt, RolloutBatch, Sampling


@define(eq=False)
class TransformersBackend:
    """Samples in the training process, with the weights where they are.

    Nothing is copied on a weight sync, unless the policy is sharded (FSDP2): then every rank keeps a whole copy.

    Args:
        max_rows: completions decoded at once; fewer take less memory and more time. 0: all of them.
        prefill_tokens: prompt tokens read in one forward call.
        keep_turns: keep keys and values between the turns of conversations, so that a turn reads only what is new; of
            `max_rows` conversations at most.  They take the memory of a whole conversation for each.
    """

    sampling_options: ClassVar[frozenset[str]] = frozenset(
        {"stop_token_ids", "min_p", "repetition_penalty", *CONSTRAINTS}
    )

    max_rows: int = field(default=0, validator=validators.ge(0))
    prefill_tokens: int = field(default=16384, validator=validators.ge(1))
    keep_turns: bool = True
    in_process: ClassVar[bool] = True
    _policy: Any = field(init=False, default=None)
    _tokenizer: Any = field(init=False, default=None)
    _replica: nn.Module | None = field(init=False, default=None)
    _decoding: Decoding = field(init=False, default="packed")
    _resumes: bool | None = field(init=False, default=None)
    _version: int = field(init=False, default=0)
    _known: KnownContexts | None = field(init=False, default=None)
    _constraints: dict[Sampling, Constraint | None] = field(init=False, factory=dict)

    def start(self, policy: nn.Module, tokenizer: Any, model_path: str) -> None:
        """See `morl.hookspecs.RolloutBackend`; the folder is not read.

        Raises:
            ConfigError: whatever decodes this model gives other probabilities than its forward pass.
        """
        self._policy, self._tokenizer = policy, tokenizer
        self._decoding = choose_decoding(self._policy)

    def sync_weights(self, version: int) -> None:
        """See `morl.hookspecs.RolloutBackend`; every rank of a sharded policy has to call it."""
        policy = self._started()
        if self._known is not None:  # computed with other weights
            self._known = KnownContexts(self.max_rows)
        if is_sharded(policy.model):
            if self._replica is None:
                self._replica = build_replica(policy.model, policy.packed)
            copy_weights(policy.model, self._replica)
        self._version = version

    def close(self) -> None:
        """See `morl.hookspecs.RolloutBackend`."""
        self._policy = self._tokenizer = self._replica = self._known = None
        self._constraints.clear()

    @contextmanager
    def turns(self) -> Iterator[None]:
        """See `morl.hookspecs.RolloutBackend`."""
        if self._resumes is None:
            self._resumes = self.keep_turns and self._decoding == "packed" and can_resume(self._started())
        if self._resumes:
            self._known = KnownContexts(self.max_rows)
        try:
            yield
        finally:
            self._known = None

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> RolloutBatch:
        """See `morl.hookspecs.RolloutBackend`.

        Samples are the same in any batch up to the rounding of matrix products, which may differ with the number of
        rows: in the last bit of a log-probability, and so, once in millions of tokens, in a token.

        Raises:
            ConfigError: prompt and completion may exceed the positions of the model.
            DataError: a prompt without tokens.
            RolloutError: the backend is not ready.
        """
        model = self._model()
        assert len(seeds) == len(prompts) > 0
        assert n >= 1
        check_prompts(prompts)
        check_context(model.config, max(len(prompt.token_ids) for prompt in prompts), sampling.max_tokens)
        ends = end_ids(self._tokenizer, getattr(model, "generation_config", None), sampling)
        stops = StopStrings(sampling.stop, self._tokenizer) if sampling.stop else None
        constraint = self._constraint(sampling, model)
        parts: list[Drawn] = []
        # Later turns have one completion for each context.
        known = [self._known.take(each.token_ids) if self._known is not None and n == 1 else None for each in prompts]
        waves = [*self._waves(prompts, n, known)]
        with evaluating(model), attention(model, self._attention()):
            for wave in waves:
                rows = [prompts[prompt].token_ids for prompt, _ in wave]
                keys = [(seeds[prompt], member) for prompt, member in wave]
                decoder = self._decoder(model, rows, [known[prompt] for prompt, _ in wave], sampling.max_tokens)
                drawn = sample(decoder, keys, sampling, ends, stops, rows, constraint)
                parts.append(drawn)
                self._remember(decoder, rows, drawn)
        order = torch.tensor([prompt * n + member for wave in waves for prompt, member in wave])
        return self._batch(prompts, n, parts, order)

    def _decoder(
        self, model: Any, rows: Sequence[tuple[int, ...]], known: Sequence[Known | None], max_tokens: int
    ) -> Decoder:
        """At work on the rows of one wave: the starts of all are known, or of none."""
        if self._known is None:
            return make_decoder(self._decoding, model, rows, max_tokens, self.prefill_tokens)
        starts = [each for each in known if each is not None]
        if not starts:
            return PackedDecoder(model, rows, max_tokens, self.prefill_tokens, keeping=True)
        return ResumedDecoder(model, rows, max_tokens, self.prefill_tokens, keeping=True, known=starts)

    def _remember(self, decoder: Decoder, rows: Sequence[tuple[int, ...]], drawn: Drawn) -> None:
        """What later turns go on from: everything but the last token, which was drawn and not read."""
        if self._known is None or not isinstance(decoder, PackedDecoder):
            return
        lengths = drawn.mask_BT.sum(1).tolist()
        said = [ids[: length - 1] for ids, length in zip(drawn.ids_BT.tolist(), lengths, strict=True)]
        self._known.add(decoder.remains(), [(*row, *ids) for row, ids in zip(rows, said, strict=True)])

    def _constraint(self, sampling: Sampling, model: Any) -> Constraint | None:
        """Compiled once for all limits of tokens, for that takes a second with a large vocabulary."""
        given = {name: getattr(sampling, name) for name in ("stop_token_ids", *CONSTRAINTS)}
        key = Sampling(**given)
        if key not in self._constraints:
            self._constraints[key] = constraint_of(key, self._tokenizer, getattr(model, "generation_config", None))
        return self._constraints[key]

    def _started(self) -> Any:
        if self._policy is None:
            raise RolloutError("the rollout backend 'transformers' is not running: call start() first")
        return self._policy

    def _model(self) -> Any:
        policy = self._started()
        if not is_sharded(policy.model):
            return policy.model
        if self._replica is None:
            raise RolloutError("the policy is sharded and was not copied yet: call sync_weights() on every rank first")
        return self._replica

    def _waves(
        self, prompts: Sequence[EncodedPrompt], n: int, known: Sequence[Known | None]
    ) -> Iterator[list[tuple[int, int]]]:
        """(prompt, member) of rows decoded together: prompts of like length, groups undivided if possible.

        Those whose starts are known are decoded by themselves.  In lockstep the rows of a wave are of equal length.
        """

        def length(prompt: int) -> int:
            return len(prompts[prompt].token_ids)

        by_length = sorted(range(len(prompts)), key=length)
        batches = [[prompt for prompt in by_length if (known[prompt] is None) == fresh] for fresh in (True, False)]
        if self._decoding == "lockstep":
            batches = [list(alike) for _, alike in groupby(by_length, key=length)]
        for batch in filter(None, batches):
            rows = [(prompt, member) for prompt in batch for member in range(n)]
            size = self.max_rows or len(rows)
            if size > n:
                size -= size % n
            for first in range(0, len(rows), size):
                yield rows[first : first + size]

    def _attention(self) -> str:
        return ATTENTION if self._decoding == "packed" else str(self._policy.own_attention)

    def _batch(self, prompts: Sequence[EncodedPrompt], n: int, parts: Sequence[Drawn], order: Tensor) -> RolloutBatch:
        longest = max(part.ids_BT.shape[1] for part in parts)
        back = order.argsort()

        def joined(tensors: Sequence[Tensor]) -> Tensor:
            padded = [torch.nn.functional.pad(x, (0, longest - x.shape[1])) if x.ndim == 2 else x for x in tensors]
            return torch.cat(padded).cpu()[back]

        ids_BT = joined([part.ids_BT for part in parts])
        mask_BT = joined([part.mask_BT for part in parts])
        rows = [ids[:length] for ids, length in zip(ids_BT.tolist(), mask_BT.sum(1).tolist(), strict=True)]
        return RolloutBatch(
            prompts=tuple(prompts),
            group_ids_B=torch.arange(len(prompts)).repeat_interleave(n),
            completion_ids_BT=ids_BT,
            completion_mask_BT=mask_BT,
            rollout_logprobs_BT=joined([part.logprobs_BT for part in parts]),
            truncated_B=joined([part.truncated_B for part in parts]),
            texts=tuple(self._tokenizer.batch_decode(rows, skip_special_tokens=True)),
            weights_versions_B=torch.full((len(ids_BT),), self._version),
        )
