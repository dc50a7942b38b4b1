"""What is on the disk when: content before its name, and the name before anybody relies on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from morl.artifacts.files import draft_of, write_folder, write_text
from morl.artifacts.table import MetricsFile


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """("sync", path) and ("rename", path) in the order in which they happen; renames are made, too."""
    seen: list[tuple[str, str]] = []
    rename = Path.replace

    def sync(handle: int) -> None:
        seen.append(("sync", str(Path(f"/proc/self/fd/{handle}").readlink())))

    def replace(self: Path, target: Path) -> Path:
        seen.append(("rename", str(target)))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    return seen


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_the_call_returns(tmp_path, events):
    path = tmp_path / "config.yaml"
    write_text(path, "text")
    assert events == [("sync", str(draft_of(path))), ("rename", str(path)), ("sync", str(tmp_path))]
    assert path.read_text() == "text"


def test_all_of_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, events):
    path, draft = tmp_path / "model", draft_of(tmp_path / "model")

    def write(folder: Path) -> None:
        (folder / "inner").mkdir(parents=True)
        (folder / "weights").write_text("1")
        (folder / "inner" / "adapter").write_text("2")

    write_folder(path, write)
    *before, renamed, last = events
    inside = {draft, draft / "weights", draft / "inner", draft / "inner" / "adapter"}
    assert {("sync", str(part)) for part in inside} == {*before}
    assert (renamed, last) == (("rename", str(path)), ("sync", str(tmp_path)))


def test_a_row_of_metrics_is_on_the_disk_when_it_is_written(tmp_path, events):
    path = tmp_path / "logs" / "metrics.csv"
    table = MetricsFile(path)
    table.write(1, {"loss": 0.5})
    events.clear()
    table.write(2, {"loss": 0.25})
    assert events == [("sync", str(path))]
    assert path.read_text().splitlines() == ["step,loss", "1,0.5", "2,0.25"]
