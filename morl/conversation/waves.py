"""Which contexts are sampled in which call of the rollout backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from attrs import evolve, frozen

from morl.conversation.talk import Drawn, Limits, Stage, Talk
from morl.types import EncodedPrompt, RolloutBatch, Sampling


@frozen(eq=False)
class Row:
    """A context, and the conversations that go on from it: all of a prompt at first, later each alone."""

    talks: tuple[Talk, ...]
    context: EncodedPrompt
    seed: int

    @property
    def sampling(self) -> Sampling:
        """How the next turn is drawn, but for its length."""
        return self.talks[0].sampling

    def longest(self, limits: Limits) -> tuple[int | None, int]:
        """Tokens that the next turn may have: as the model's context has it, where that is less than `max_tokens`; and
        with the limit of tokens."""
        context, tokens = next(talk for talk in self.talks if talk.stage is Stage.READY).room(limits)
        max_tokens = self.sampling.max_tokens
        return None if context >= max_tokens else int(context), int(min(context, tokens, max_tokens))


@frozen(eq=False)
class Request:
    """One call of the rollout backend.

    Attributes:
        rows: their contexts are sampled side by side.
        sampling: how.
    """

    rows: tuple[Row, ...]
    sampling: Sampling

    @property
    def n(self) -> int:
        """Completions of each context."""
        return len(self.rows[0].talks)

    @property
    def talks(self) -> Iterator[Talk]:
        """In the order of the completions."""
        return (talk for row in self.rows for talk in row.talks)


def ready_rows(groups: Iterable[Sequence[Talk]], seed_of: Callable[[int, int, int], int]) -> Iterator[Row]:
    """The contexts that can be sampled now.

    Args:
        groups: conversations by prompt.
        seed_of: (seed of the prompt, member, turn) -> seed of a later turn.
    """
    for group in groups:
        ready = [talk for talk in group if talk.stage is Stage.READY]
        if ready and not ready[0].turns:
            yield Row(tuple(group), ready[0].prompt, ready[0].seed)
            continue
        for talk in ready:
            yield Row((talk,), talk.context, seed_of(talk.seed, talk.member, len(talk.turns)))


def requests(rows: Iterable[Row], limits: Limits) -> list[Request]:
    """The calls that sample these contexts, those of one setting each.

    A turn may be as long as `max_tokens`.  Contexts that the model has less room for need a call with a lower limit;
    the limit of tokens only cuts what was sampled.
    """
    rows = list(rows)
    settings = {sampling: place for place, sampling in enumerate(dict.fromkeys(row.sampling for row in rows))}

    def kind(row: Row) -> tuple[int, int, int]:
        room = row.longest(limits)[0]
        return settings[row.sampling], len(row.talks), -1 if room is None else room

    parts = [tuple(part) for _, part in groupby(sorted(rows, key=kind), key=kind)]
    longest = [max(row.longest(limits)[1] for row in part) for part in parts]
    return [
        Request(part, evolve(part[0].sampling, max_tokens=tokens)) for part, tokens in zip(parts, longest, strict=True)
    ]


def drawn_rows(batch: RolloutBatch) -> Iterator[Drawn]:
    """The completions of a batch, one by one."""
    lengths = batch.lengths_B.tolist()
    columns = zip(
        batch.completion_ids_BT.tolist(),
        batch.rollout_logprobs_BT.tolist(),
        batch.texts,
        batch.truncated_B.tolist(),
        batch.weights_versions_B.tolist(),
        strict=True,
    )
    for length, (ids, logprobs, text, truncated, version) in zip(lengths, columns, strict=True):
        yield Drawn(ids[:length], logprobs[:length], text, truncated, version)
