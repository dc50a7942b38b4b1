"""What is asked of anybody's rollout backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from attrs import evolve, frozen

from morl.copies import copied
from morl.errors import MorlError, PluginError, RolloutError, is_theirs, told
from morl.hookspecs import RolloutBackend, RolloutStream
from morl.runtime.answers import check_answer, check_contexts
from morl.types import EncodedPrompt, RolloutBatch, Sampling


def sample(
    backend: RolloutBackend,
    prompts: Sequence[EncodedPrompt],
    n: int,
    sampling: Sampling,
    seeds: Sequence[int],
    vocabulary: int | None = None,
) -> RolloutBatch:
    """`n` completions of each prompt, as the backend draws them.

    Prompts of other settings (`EncodedPrompt.sampling`) are drawn in calls of their own, unless the backend minds them
    itself, as conversations do.

    The backend sees copies of the prompts, and the batch is a copy around the prompts themselves: a backend that keeps
    what it gave, and fills it again at the next call, changes nothing here.

    Args:
        backend: is asked.
        prompts: what the policy is to continue.
        n: completions of each.
        sampling: settings of those that have none of their own.
        seeds: one for each prompt.
        vocabulary: ids that the model knows; None where nothing of the batch is given to a model.

    Raises:
        DataError: prompts that the model cannot read.
        PluginError: no `RolloutBatch`, or one of other completions than were asked for, or see `check_answer`.
        RolloutError: log-probabilities that are none.
    """
    check_contexts(prompts, vocabulary)
    if _opens_prompts(backend):
        return _alike(backend, prompts, n, sampling, seeds, vocabulary)
    settings: dict[Sampling, list[int]] = {}
    for row, prompt in enumerate(prompts):
        settings.setdefault(prompt.sampling or sampling, []).append(row)
    if len(settings) == 1:
        return _alike(backend, prompts, n, next(iter(settings)), seeds, vocabulary)
    parts = [
        _alike(backend, [prompts[row] for row in rows], n, each, [seeds[row] for row in rows], vocabulary)
        for each, rows in settings.items()
    ]
    return _in_order(RolloutBatch.concatenate(parts), [row for rows in settings.values() for row in rows], n)


def _opens_prompts(backend: RolloutBackend) -> bool:
    """Whether its completions are conversations, see `morl.runtime.conversations`."""
    return bool(getattr(backend, "opens_prompts", False))


def _in_order(batch: RolloutBatch, rows: Sequence[int], n: int) -> RolloutBatch:
    """The batch whose prompts stand where `rows` says, each with its completions, from one that has them in turn."""
    places = torch.tensor(rows).argsort()
    sorted_batch = batch.select([int(place) * n + member for place in places for member in range(n)])
    return evolve(
        sorted_batch,
        prompts=tuple(batch.prompts[int(place)] for place in places),
        group_ids_B=torch.arange(len(rows)).repeat_interleave(n),
    )


def _asked(
    backend: RolloutBackend,
    prompts: list[EncodedPrompt],
    n: int,
    sampling: Sampling,
    seeds: list[int],
    name: str,
) -> object:
    """The answer of `generate`; what a stranger's backend raises bears its name, and morl's own keeps its traceback."""
    try:
        return backend.generate(prompts, n, sampling, seeds)
    except (MorlError, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        if not is_theirs(error) or type(backend).__module__.partition(".")[0] == "morl":
            raise
        raise RolloutError(f"{name} failed: {told(error)}") from error


def _alike(
    backend: RolloutBackend,
    prompts: Sequence[EncodedPrompt],
    n: int,
    sampling: Sampling,
    seeds: Sequence[int],
    vocabulary: int | None,
) -> RolloutBatch:
    """`sample`, of prompts that are drawn from alike, or in a call that minds their settings."""
    minds = _opens_prompts(backend)
    plain = [prompt if minds or prompt.sampling is None else evolve(prompt, sampling=None) for prompt in prompts]
    name = f"the rollout backend {type(backend).__name__}"
    batch = _asked(backend, copied(plain), n, sampling, list(seeds), name)
    if not isinstance(batch, RolloutBatch):
        raise PluginError(f"{name} returned {type(batch).__name__}; expected a morl.types.RolloutBatch")
    check_answer(batch, name, vocabulary, conversations=minds)
    groups_B = torch.arange(len(prompts)).repeat_interleave(n)
    if not torch.equal(batch.group_ids_B, groups_B):
        raise PluginError(
            f"{name} returned {len(batch)} completions with the group ids {batch.group_ids_B.tolist()[:8]}..; expected"
            f" {len(groups_B)}, {n} of each of {len(prompts)} prompts side by side: {groups_B.tolist()[:8]}.."
            " (check it with morl.testing.check_rollout_backend)"
        )
    if minds:
        opened = zip(batch.prompts, prompts, strict=True)
        return evolve(batch, prompts=tuple(evolve(each, sampling=asked.sampling) for each, asked in opened))
    return evolve(copied(batch), prompts=tuple(prompts))


@frozen(eq=False)
class Stream:
    """What is asked of anybody's `RolloutStream`.

    Args:
        stream: of the backend.
        name: of the backend.
        settings: makes the sampling settings those that the backend is to be given.
        vocabulary: ids that the model knows.
    """

    stream: RolloutStream
    name: str
    settings: Callable[[Sampling], Sampling]
    vocabulary: int | None = None

    def add(self, number: int, prompt: EncodedPrompt, n: int, sampling: Sampling, seed: int) -> None:
        """As there; the backend sees a copy of the prompt.

        Raises:
            DataError: a prompt that the model cannot read.
        """
        check_contexts([prompt], self.vocabulary)
        self.stream.add(number, copied(prompt), n, self.settings(sampling), seed)

    def take(self, stop: Callable[[], bool]) -> list[tuple[int, int, RolloutBatch]]:
        """As there.

        Raises:
            PluginError: something else than batches of one completion, or see `check_answer`.
            RolloutError: log-probabilities that are none.
        """
        taken = [*self.stream.take(stop)]
        for _, _, batch in taken:
            if not isinstance(batch, RolloutBatch) or len(batch) != 1:
                what = f"a batch of {len(batch)}" if isinstance(batch, RolloutBatch) else type(batch).__name__
                raise PluginError(
                    f"the stream of the rollout backend {self.name} gave {what}; expected a morl.types.RolloutBatch of"
                    " one completion"
                )
            check_answer(batch, f"the stream of the rollout backend {self.name}", self.vocabulary)
        return taken

    def close(self) -> None:
        """As there."""
        self.stream.close()
