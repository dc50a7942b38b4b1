"""Scores completions with every configured reward at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial

import torch

from morl.copies import copied
from morl.errors import ConfigError, MorlError, RewardError
from morl.reward.entry import RewardEntry, required_columns, reward_bounds, reward_names, reward_weights
from morl.reward.values import Score, excerpt, read_scores, within
from morl.reward.workers import Outcome, Workers
from morl.types import Completion, RewardScores

_log = logging.getLogger(__name__)


class RewardScorer:
    """All rewards of a run.

    Providers are given copies, each of its own, so that none can change what others see or what the next step asks.

    A call of a provider that raises or exceeds its time limit fails for all its completions; a provider that puts an
    exception in place of a score, or a score outside the bounds of its reward, fails for that completion only.
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
        if not entries:
            raise ConfigError("no reward is configured; name at least one under `rewards`")
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
        self.names = tuple(owners)
        self._traceback_shown: set[tuple[str, type[BaseException]]] = set()
        self._workers = Workers()

    def score(self, completions: Sequence[Completion]) -> RewardScores:
        """Scores of `completions`, the providers side by side.

        Raises:
            RewardError: a provider returned something that is not a score, failed under the policy `raise`, said that
                its input is wrong, or hangs for the fifth time.
        """
        completions = tuple(completions)
        B, K = len(completions), len(self.names)
        values_BK = torch.full((B, K), torch.nan, dtype=torch.float64)
        failed_BK = torch.zeros(B, K, dtype=torch.bool)
        dropped_B = torch.zeros(B, dtype=torch.bool)
        if not completions:
            return RewardScores(self.names, values_BK, failed_BK, dropped_B)
        calls = {
            name: (partial(entry.provider.score, copied(completions)), entry.timeout)
            for name, entry in self.entries.items()
        }
        outcomes = self._workers.run(calls)
        for entry_name, entry in self.entries.items():
            columns = self._columns(entry_name, outcomes[entry_name], completions)
            columns = {name: within(scores, self.bounds.get(name)) for name, scores in columns.items()}
            for name, scores in columns.items():
                k = self.names.index(name)
                failures = {row: score for row, score in enumerate(scores) if isinstance(score, BaseException)}
                substitute = 0.0 if entry.on_failure == "zero" else torch.nan
                numbers = [substitute if isinstance(score, BaseException) else score for score in scores]
                values_BK[:, k] = torch.tensor(numbers, dtype=torch.float64)
                failed_BK[[*failures], k] = True
                if entry.on_failure == "drop":
                    dropped_B[[*failures]] = True
            self._report(entry_name, columns, completions)
        seconds = {name: outcome.seconds for name, outcome in outcomes.items()}
        return RewardScores(self.names, values_BK, failed_BK, dropped_B, seconds)

    def close(self) -> None:
        """Stop what runs in the background."""
        self._workers.close()

    def _columns(self, entry_name: str, outcome: Outcome, completions: Sequence[Completion]) -> dict[str, list[Score]]:
        """The entry's scores by reward name; a call that failed fails each of them."""
        names = self._names[entry_name]
        if outcome.error is not None:
            return {name: [outcome.error] * len(completions) for name in names}
        several = getattr(self.entries[entry_name].provider, "reward_names", None) is not None
        return read_scores(names, outcome.result, completions, several=several)

    def _report(self, entry_name: str, columns: Mapping[str, list[Score]], completions: Sequence[Completion]) -> None:
        """Logs the failures of one entry in one line, or raises."""
        failed: dict[int, BaseException] = {}
        for scores in columns.values():
            for row, score in enumerate(scores):
                if isinstance(score, BaseException):
                    failed.setdefault(row, score)
        if not failed:
            return
        for error in failed.values():
            if isinstance(error, MorlError):
                raise RewardError(f"reward {entry_name!r}: {error}") from error
        row = min(failed)
        error = failed[row]
        policy = self.entries[entry_name].on_failure
        message = (
            f"reward {entry_name!r} failed on {len(failed)} of {len(completions)} completions (on_failure: {policy});"
            f" first: {type(error).__name__}: {error}; completion {row}: {excerpt(completions[row])}"
        )
        if policy == "raise":
            raise RewardError(message) from error
        # One traceback per kind of error tells where; one per step would bury the rest of the log.
        kind = (entry_name, type(error))
        _log.warning(message, exc_info=None if kind in self._traceback_shown else error)
        self._traceback_shown.add(kind)
