"""Model folders that are made once: whole or absent, whoever comes at the same time."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from morl.policy.made import cache_folder, made_once


def visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def test_the_cache_is_where_the_desktop_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("plugin") == tmp_path / "plugin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("plugin") == tmp_path / "home" / ".cache" / "plugin"
    assert cache_folder("plugin", "~/models") == tmp_path / "home" / "models"


def test_one_makes_it_and_the_others_wait(tmp_path: Path) -> None:
    made: list[Path] = []
    others_may_come = threading.Barrier(2)

    def make(folder: Path) -> None:
        made.append(folder)
        others_may_come.wait(60)
        (folder / "model").write_text("whole")

    with ThreadPoolExecutor(4) as pool:  # each call takes the lock anew, as a process of its own would
        found = [pool.submit(made_once, tmp_path / "policy", make) for _ in range(4)]
        others_may_come.wait(60)
        assert {each.result() for each in found} == {str(tmp_path / "policy")}
    assert len(made) == 1
    assert visible(tmp_path) == ["policy"]


def test_what_fails_leaves_nothing_behind_and_may_be_tried_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("a model")
        raise RuntimeError("out of disk")

    with pytest.raises(RuntimeError, match="out of disk"):
        made_once(tmp_path / "policy", fail)
    assert not visible(tmp_path)
    made_once(tmp_path / "policy", lambda folder: None)
    assert visible(tmp_path) == ["policy"]
