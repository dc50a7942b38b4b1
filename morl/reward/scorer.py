"""Scores completions with every configured reward at once."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from morl.copies import copied
from morl.errors import ConfigError, MorlError, RewardError
from morl.reward.entry import RewardEntry, required_columns, reward_bounds, reward_names, reward_weights
from morl.reward.environment import EnvironmentRewards, failed, failure
from morl.reward.health import Health, Tally, describe, in_a_line, their_part
from morl.reward.values import Score, excerpt, read_scores, within
from morl.reward.workers import Done, Work, Workers
from morl.types import Completion, Prompt, RewardScores

_log = logging.getLogger(__name__)


class RewardScorer:
    """All rewards of a run.

    Providers are given copies, each of its own, so that none can change what others see or what the next step asks.

    A call of a provider that raises or exceeds its time limit fails for all its completions; a provider that puts an
    exception or something that is no score in place of a score, or a score outside the bounds of its reward, fails for
    that completion only.  So does a provider with `per_completion`, which is asked about each completion in a call of
    its own.
    Failures are marked in `failed_BK`, logged once per step and reward, and handled by the entry's `on_failure`.  A
    `MorlError` raised by a provider is no failure: it says that the input is wrong, so it ends the run whatever the
    policy.

    Args:
        entries: config entry name -> entry.  A provider without `reward_names` returns one reward, called as its entry.

    Attributes:
        names: the K reward names, in the order of the config.
        entries: config entry name -> entry.
        weights: weight by reward name.
        bounds: lowest and highest score by reward name, of those that have bounds.
        required_columns: column -> names of the config entries whose provider needs it in every prompt.

    Raises:
        ConfigError: no entry, two rewards of one name, a weight for a reward that is not there, and so on.
    """

    def __init__(self, entries: Mapping[str, RewardEntry]) -> None:
        self.entries = dict(entries)
        self._names: dict[str, tuple[str, ...]] = {}
        self.weights: dict[str, float] = {}
        self.bounds: dict[str, tuple[float, float]] = {}
        self.required_columns: dict[str, tuple[str, ...]] = {}
        owners: dict[str, str] = {}
        for entry_name, entry in entries.items():
            names = self._names[entry_name] = reward_names(entry_name, entry)
            for name in names:
                if name in owners:
                    raise ConfigError(
                        f"reward {name!r} is returned by two entries, {owners[name]!r} and {entry_name!r};"
                        " rename one or leave one out"
                    )
                owners[name] = entry_name
            self.weights |= reward_weights(entry_name, entry, names)
            self.bounds |= reward_bounds(entry_name, entry, names)
            for column in required_columns(entry_name, entry):
                self.required_columns[column] = (*self.required_columns.get(column, ()), entry_name)
        if not owners:
            raise ConfigError("no reward is configured; name at least one under `rewards`")
        self.names = tuple(owners)
        self._owners = owners
        environments = [name for name, entry in entries.items() if isinstance(entry.provider, EnvironmentRewards)]
        self._environment = environments[0] if environments else None
        silent = [name for name in environments if not self._names[name]]
        counted = {**owners, **dict(zip(silent, silent, strict=True))}
        self._health = Health(
            {name: entries[owner].max_failed_steps for name, owner in counted.items()},
            {name for name, owner in counted.items() if owner in environments},
        )
        self._traceback_shown: set[tuple[str, type[BaseException]]] = set()
        self._held: list[tuple[str, Any]] = []
        self._workers = Workers()

    def score(self, completions: Sequence[Completion]) -> RewardScores:
        """Scores of `completions`, the providers side by side.

        Raises:
            RewardError: a provider broke its contract, failed under the policy `raise`, said that its input is wrong,
                or hangs for the fifth time.
        """
        self._say_held()
        completions = tuple(completions)
        B, K = len(completions), len(self.names)
        values_BK = torch.full((B, K), torch.nan, dtype=torch.float64)
        failed_BK = torch.zeros(B, K, dtype=torch.bool)
        dropped_B = torch.zeros(B, dtype=torch.bool)
        if not completions:
            return RewardScores(self.names, values_BK, failed_BK, dropped_B)
        spoilt = self._spoilt(completions)
        if self._environment is not None and self.entries[self._environment].on_failure == "drop":
            dropped_B[[*spoilt]] = True
        # Where the policy was never asked, there is nothing that it said: a score of "" would be a wrong one.
        unasked = {*spoilt, *(row for row, completion in enumerate(completions) if not completion.turns)}
        rows = {
            name: [
                row
                for row, completion in enumerate(completions)
                if entry.applies(completion.prompt) and (row not in unasked or name == self._environment)
            ]
            for name, entry in self.entries.items()
        }
        done = self._workers.run(
            {name: self._work(name, [completions[row] for row in asked]) for name, asked in rows.items() if asked}
        )
        for entry_name, asked in rows.items():
            if not asked:
                continue
            entry, given = self.entries[entry_name], [completions[row] for row in asked]
            columns = self._columns(entry_name, done[entry_name], len(given))
            columns = {name: within(scores, self.bounds.get(name)) for name, scores in columns.items()}
            for name, scores in columns.items():
                k = self.names.index(name)
                failures = [row for row, score in zip(asked, scores, strict=True) if isinstance(score, BaseException)]
                substitute = 0.0 if entry.on_failure == "zero" else torch.nan
                numbers = [substitute if isinstance(score, BaseException) else score for score in scores]
                values_BK[asked, k] = torch.tensor(numbers, dtype=torch.float64)
                failed_BK[failures, k] = True
                if entry.on_failure == "drop":
                    dropped_B[failures] = True
                self._count(name, scores, given)
            self._report(entry_name, columns, given)
        entries = [name for name in self.entries if name != self._environment]  # whose rewards are only read
        seconds = {name: done[name].seconds if name in done else 0.0 for name in entries}
        return RewardScores(self.names, values_BK, failed_BK, dropped_B, seconds)

    def entry_of(self, reward: str) -> str:
        """The config entry that a reward comes from."""
        return self._owners[reward]

    @property
    def route_columns(self) -> dict[str, str]:
        """The column of `when` by the name of the config entry, of those that have one."""
        return {name: entry.when.column for name, entry in self.entries.items() if entry.when is not None}

    def applies(self, entry: str, prompt: Prompt) -> bool:
        """Whether an entry of the config is asked about completions of this prompt."""
        return self.entries[entry].applies(prompt)

    def take_tallies(self) -> dict[str, Tally]:
        """What this rank has counted since the last call, for `judge`."""
        return self._health.take()

    def judge(self, ranks: Sequence[Mapping[str, Tally]]) -> None:
        """Ends a run whose reward fails on everything; every rank must call, with the tallies of all of them.

        Raises:
            RewardError: see `morl.reward.health.Health.judge`.
        """
        held, self._held = self._held, []
        self._health.judge(ranks)
        self._held = held
        self._say_held()

    def close(self) -> None:
        """Stop what runs in the background, that of providers with a method `close` included."""
        self._say_held()
        self._workers.close()
        for entry in self.entries.values():
            close = getattr(entry.provider, "close", None)
            if callable(close):
                close()

    def _spoilt(self, completions: Sequence[Completion]) -> list[int]:
        """Conversations in which the environment failed, and that no other reward is asked about.

        What the policy said last in them is no answer that it settled on, so a score of it would be a wrong one.

        Raises:
            RewardError: there is one, under the policy `raise`.
        """
        if self._environment is None:
            return []
        name, policy = self._environment, self.entries[self._environment].on_failure
        rows = [row for row, completion in enumerate(completions) if failed(completion)]
        first = completions[rows[0]] if rows else None
        if not self._names[name]:
            example = "" if first is None else describe(failure(first), first, excerpt(first))
            self._health.add(name, Tally(len(completions), len(rows), example))
        if first is not None:
            message = (
                f"the environment failed in {len(rows)} of {len(completions)} conversations (on_failure: {policy});"
                f" first: {failure(first)}"
            )
            if policy == "raise":
                raise RewardError(message)
            _log.warning(message)
        return [] if policy == "zero" else rows

    def _work(self, entry_name: str, completions: Sequence[Completion]) -> Work:
        entry = self.entries[entry_name]
        provider = entry.provider
        if not getattr(provider, "per_completion", False):
            return Work([partial(provider.score, copied(tuple(completions)))], entry.timeout)
        calls = [partial(provider.score, copied((completion,))) for completion in completions]
        return Work(calls, entry.timeout, getattr(provider, "calls_at_a_time", 1))

    def _columns(self, entry_name: str, done: Done, count: int) -> dict[str, list[Score]]:
        """The entry's scores by reward name; a call that failed fails each of them."""
        names, provider = self._names[entry_name], self.entries[entry_name].provider
        several = getattr(provider, "reward_names", None) is not None
        share = 1 if getattr(provider, "per_completion", False) else count
        columns: dict[str, list[Score]] = {name: [] for name in names}
        for outcome in done.outcomes:
            if outcome.error is not None:
                found: dict[str, list[Score]] = {name: [outcome.error] * share for name in names}
            else:
                found = read_scores(names, outcome.result, share, several=several)
            for name in names:
                columns[name] += found[name]
        return columns

    def _count(self, name: str, scores: Sequence[Score], completions: Sequence[Completion]) -> None:
        failures = [row for row, score in enumerate(scores) if isinstance(score, BaseException)]
        example = ""
        if len(failures) == len(scores):
            error, completion = scores[failures[0]], completions[failures[0]]
            assert isinstance(error, BaseException)
            example = describe(error, completion, excerpt(completion))
        missing = sum(isinstance(score, float) and math.isnan(score) for score in scores)
        self._health.add(name, Tally(len(scores), len(failures), example, missing))

    def _report(self, entry_name: str, columns: Mapping[str, list[Score]], completions: Sequence[Completion]) -> None:
        """Logs the failures of one entry in one line, or raises."""
        failures: dict[int, BaseException] = {}
        for scores in columns.values():
            for row, score in enumerate(scores):
                if isinstance(score, BaseException):
                    failures.setdefault(row, score)
        if not failures or entry_name == self._environment:  # see `_spoilt`
            return
        for error in failures.values():
            if isinstance(error, MorlError):
                raise RewardError(f"reward {entry_name!r}: {error}") from error
        row = min(failures)
        error = failures[row]
        policy = self.entries[entry_name].on_failure
        message = (
            f"reward {entry_name!r} failed on {len(failures)} of {len(completions)} completions (on_failure: {policy});"
            f" first: {in_a_line(error)}; completion {row}: {excerpt(completions[row])}"
        )
        if policy == "raise":
            raise RewardError(message) from error
        # One traceback per kind of error tells where; one per step would bury the rest of the log.
        kind, trace = (entry_name, type(error)), their_part(error.__traceback__)
        shown = None if trace is None or kind in self._traceback_shown else (type(error), error, trace)
        self._traceback_shown.add(kind)
        ending = len(failures) == len(completions) and any(self._health.may_end(n, len(failures)) for n in columns)
        if ending:
            self._held.append((message, shown))
        else:
            _log.warning(message, exc_info=shown)

    def _say_held(self) -> None:
        """Logs the failures that were held back for `judge`, whose error would have said the same."""
        held, self._held = self._held, []
        for message, shown in held:
            _log.warning(message, exc_info=shown)
