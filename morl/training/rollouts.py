"""Who samples when: a step's completions with its own weights, or ahead of time with those of an earlier step.

    lag 0    sample 0 | update 0 | sample 1 | update 1 | ..
    lag 1    sample 0 | update 0 | update 1 | update 2 | ..
               sample 1 | sample 2 | sample 3 | ..

Ahead of time, one thread samples from a copy of the policy while the policy itself is updated.  Batch t + lag is begun
at the start of step t, with the weights of that moment.  So which weights draw which batch follows from the config
alone, never from how long anything took, and a run can be repeated and resumed exactly.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import takewhile
from typing import Any, Protocol, TypeAlias

import torch
from attrs import define, field, frozen
from torch import Tensor

from morl import interrupts
from morl.errors import RolloutError
from morl.hookspecs import RolloutBackend
from morl.policy.model import PolicyModel
from morl.prompts.order import rows
from morl.rollout.replica import build_replica, copy_weights, whole_weights
from morl.runtime import seeds
from morl.runtime.exchange import Exchange
from morl.runtime.parts import max_staleness
from morl.runtime.sampling import sample
from morl.training.probe import Difference, probe
from morl.training.sampled import Sampled
from morl.types import EncodedPrompt, RolloutBatch, Sampling

_log = logging.getLogger(__name__)

Context: TypeAlias = Callable[[], AbstractContextManager[object]]
Weights: TypeAlias = list[dict[str, Tensor]]
"""One set of weights, or none; whoever takes it out of the list is the last to hold it."""


@frozen(eq=False)
class Draw:
    """Samples the completions of any stretch of the stream of prompts, with the weights that the backend has.

    Attributes:
        vocabulary: token ids that the policy knows.
    """

    backend: RolloutBackend
    prompts: Sequence[EncodedPrompt]
    sampling: Sampling
    group_size: int
    shuffle: bool
    seed: int
    vocabulary: int

    def __call__(self, position: int, count: int, exchange: Exchange) -> RolloutBatch:
        """This rank's share of the prompts at `position` to `position + count`."""
        prompts = self.share(position, count, exchange)
        places = [position + offset for offset in exchange.share(count)]
        draws = [seeds.derive(self.seed, seeds.ROLLOUT, place) for place in places]
        return sample(self.backend, prompts, self.group_size, self.sampling, draws, self.vocabulary)

    def prompt_at(self, position: int) -> EncodedPrompt:
        """The prompt at one position of the stream, on every rank the same."""
        row = rows(self.seed, position, 1, len(self.prompts), shuffle=self.shuffle)[0]
        return self.prompts[row].sampled(self.sampling)

    def checked(self, batch: RolloutBatch, version: int) -> RolloutBatch:
        """The batch, if the weights of `version` or newer ones drew it, or as old ones as the backend may keep.

        Raises:
            RolloutError: a completion of older weights.
        """
        oldest, due = int(batch.weights_versions_B.min()), version - max_staleness(self.backend)
        if oldest < due:
            raise RolloutError(
                f"the rollout backend returned completions of weights version {oldest}, where version {due} or newer"
                " was due; its sync_weights must reach every engine, and its batches carry the version"
            )
        return batch

    def share(self, position: int, count: int, exchange: Exchange) -> list[EncodedPrompt]:
        """The prompts of this rank."""
        order = rows(self.seed, position, count, len(self.prompts), shuffle=self.shuffle)
        return [self.prompts[order[offset]].sampled(self.sampling) for offset in exchange.share(count)]


class Rollouts(Protocol):
    """What the loop asks for, in this order at every step."""

    @property
    def draw(self) -> Draw:
        """What samples, and knows the prompts."""
        ...

    @property
    def difference(self) -> Difference | None:
        """Of the batch that was last taken, from its own weights; None where the update compares the two."""
        ...

    def start(self, policy: PolicyModel, tokenizer: Any, model_path: str, context: Context) -> None:
        """Get the backend ready; sampling happens within `context`."""
        ...

    def begin(self, step: int, position: int, exchange: Exchange) -> None:
        """Step `step` is about to take its first prompts, those at `position`.  Every rank must call."""
        ...

    def take(self, position: int, count: int, exchange: Exchange) -> RolloutBatch:
        """The completions of this rank's share of these prompts.

        Raises:
            RolloutError: the backend drew them with older weights than it may.
        """
        ...

    def settle(self, step: int) -> None:
        """Bring the backend to the present weights, with nothing going on beside.  Every rank must call."""
        ...

    def drawn_ahead(self, step: int) -> list[dict[str, Any]]:
        """What was sampled for step `step` and later ones, in plain form; waits for what is under way."""
        ...

    def restore(self, step: int, position: int, batches: Iterable[Any], exchange: Exchange) -> None:
        """Batches that `drawn_ahead` gave when the run had finished `step` steps."""
        ...

    def close(self) -> None:
        """End the backend."""
        ...


@define(eq=False)
class OnPolicy:
    """Every batch is sampled when it is needed, with the weights that are about to be updated."""

    draw: Draw
    difference: None = field(init=False, default=None)
    _step: int = field(init=False, default=0)

    def start(self, policy: PolicyModel, tokenizer: Any, model_path: str, context: Context) -> None:
        self.draw.backend.start(policy, tokenizer, model_path)

    def begin(self, step: int, position: int, exchange: Exchange) -> None:
        self.settle(step)

    def take(self, position: int, count: int, exchange: Exchange) -> RolloutBatch:
        return self.draw.checked(self.draw(position, count, exchange), self._step)

    def settle(self, step: int) -> None:
        self._step = step
        self.draw.backend.sync_weights(step)

    def drawn_ahead(self, step: int) -> list[dict[str, Any]]:
        return []

    def restore(self, step: int, position: int, batches: Iterable[Any], exchange: Exchange) -> None:
        assert not list(batches)

    def close(self) -> None:
        self.draw.backend.close()


@frozen(eq=False)
class Planned:
    """The batch of a step, sampled or about to be."""

    step: int
    position: int
    work: Future[Sampled]


@define(eq=False)
class Ahead:
    """The batch of step t is sampled in the background, with the weights of step t - lag.

    The first `lag` batches have the initial weights.

    Args:
        draw: samples.
        lag: steps, at least 1.
        steps: of the run; nothing is sampled beyond.
        prompts_per_step: of a batch.
    """

    draw: Draw
    lag: int
    steps: int
    prompts_per_step: int
    difference: Difference = field(init=False, factory=Difference)
    _policy: PolicyModel | None = field(init=False, default=None)
    _copy: PolicyModel | None = field(init=False, default=None)
    _context: Context = field(init=False, default=nullcontext)
    _thread: ThreadPoolExecutor = field(init=False)
    _planned: deque[Planned] = field(init=False, factory=deque)
    _step: int = field(init=False, default=0)

    @_thread.default
    def _new_thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix="morl-rollouts")

    def start(self, policy: PolicyModel, tokenizer: Any, model_path: str, context: Context) -> None:
        self._policy, self._context = policy, context
        self._copy = PolicyModel(build_replica(policy.model, policy.packed), policy.packed)
        # Once here, so that a model that cannot be copied is known before the first step.
        copy_weights(policy.model, self._copy.model)
        self.draw.backend.start(self._copy, tokenizer, model_path)

    def begin(self, step: int, position: int, exchange: Exchange) -> None:
        assert self._policy is not None
        self._step = step
        # Not when it is taken: until the step is finished, a checkpoint of the one before may need the batch.
        while self._planned and self._planned[0].step < step:
            self._planned.popleft()
        first, end = step + len(self._planned), min(step + self.lag + 1, self.steps)
        if first >= end:
            return
        weights: Weights = [whole_weights(self._policy.model)]
        for ahead in range(first, end):
            place = position + (ahead - step) * self.prompts_per_step
            work = self._thread.submit(self._sample, weights, step, place, exchange)
            self._planned.append(Planned(ahead, place, work))
            weights = []  # the batches after the first have the same

    def take(self, position: int, count: int, exchange: Exchange) -> RolloutBatch:
        planned = self._planned[0]
        assert (planned.step, planned.position) == (self._step, position), "a step takes the prompts planned for it"
        interrupts.until_done([planned.work])
        sampled = planned.work.result()
        self.difference = sampled.difference
        return self.draw.checked(sampled.batch, self._step - self.lag)

    def settle(self, step: int) -> None:
        assert self._policy is not None
        interrupts.until_done(planned.work for planned in self._planned)
        self._load([whole_weights(self._policy.model)], step)

    def drawn_ahead(self, step: int) -> list[dict[str, Any]]:
        works = [planned.work for planned in self._planned if planned.step >= step]
        # One that failed ends the run in its turn; a checkpoint that is written meanwhile keeps those before it.
        whole = [*takewhile(lambda work: _fault(work) is None, works)]
        if len(whole) < len(works) and isinstance(_fault(works[len(whole)]), SystemExit):
            _log.warning(
                "step %d: stopped while %d batches were being drawn ahead; a resumed run draws them anew, with newer"
                " weights, so it is not the one that would have been",
                step,
                len(works) - len(whole),
            )
        return [work.result().plain() for work in whole]

    def restore(self, step: int, position: int, batches: Iterable[Any], exchange: Exchange) -> None:
        for number, state in enumerate(batches):
            place = position + number * self.prompts_per_step
            prompts = self.draw.share(place, self._count(exchange), exchange)
            done: Future[Sampled] = Future()
            done.set_result(Sampled.from_plain(state, prompts))
            self._planned.append(Planned(step + number, place, done))

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._planned.clear()
        self.draw.backend.close()
        self._copy = None

    def _sample(self, weights: Weights, version: int, position: int, exchange: Exchange) -> Sampled:
        """In the thread, one batch after the other."""
        assert self._copy is not None
        device = next(self._copy.parameters()).device
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext(), self._context():
            if weights:
                self._load(weights, version)
            batch = self.draw(position, self._count(exchange), exchange)
            return Sampled(batch, probe(self._copy, batch, version, self.draw.sampling.temperature))

    def _load(self, weights: Weights, version: int) -> None:
        assert self._copy is not None
        copy_weights(weights.pop(), self._copy.model)
        self.draw.backend.sync_weights(version)

    def _count(self, exchange: Exchange) -> int:
        # As many as the collector asks for: every rank gets a prompt.
        return max(self.prompts_per_step, exchange.size)


def _fault(work: Future[Any]) -> BaseException | None:
    """What it ended with, once it has ended."""
    interrupts.until_done([work])
    return work.exception()
