"""Answers on disk, by the content of the request."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import frozen

from morl.errors import ConfigError

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where answers are kept unless the config says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "morl-judge")


def request_key(url: str, body: Mapping[str, Any]) -> str:
    """Names a request: the same for the same address and body, whatever the order of the keys."""
    return hashlib.sha256(json.dumps([url, body], sort_keys=True).encode()).hexdigest()


@frozen
class Cache:
    """A table in SQLite, which several processes may use at once.

    Requests are kept as their hash only, answers as the judge's text.  A cache that fails in a run is reported and does
    without: the answers are worth more.

    Args:
        folder: made if it is not there.

    Raises:
        ConfigError: the folder cannot be written to.
    """

    folder: Path

    def __attrs_post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as table, table:
                table.execute("CREATE TABLE IF NOT EXISTS answers (request TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"answers cannot be kept in {self.folder}: {error}; set cache, or use_cache: false"
            ) from error

    def get(self, keys: Iterable[str]) -> dict[str, str]:
        """The answers that are known, by request."""
        answers = {}
        try:
            with closing(self._open()) as table:
                for key in keys:
                    row = table.execute("SELECT answer FROM answers WHERE request = ?", (key,)).fetchone()
                    if row is not None:
                        answers[key] = str(row[0])
        except sqlite3.Error as error:
            _log.warning("the answers in %s cannot be read: %s", self.folder, error)
        return answers

    def put(self, answers: Mapping[str, str]) -> None:
        """Keep answers by request; what was kept first stays."""
        try:
            with closing(self._open()) as table, table:
                table.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", [*answers.items()])
        except sqlite3.Error as error:
            _log.warning("%d answers cannot be kept in %s: %s", len(answers), self.folder, error)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "answers.sqlite", timeout=10)
