"""Records of a run that are not what a run writes: named in one line, whoever reads them."""

from __future__ import annotations

import json

import pytest

from morl.artifacts.card import card
from morl.artifacts.evaluations import read_evaluations
from morl.artifacts.folder import RunFolder
from morl.artifacts.history import Change, read_history, write_history
from morl.errors import DataError

ROW = {"step": 2, "metrics": {"short": 0.5, "long": None}, "scored": {"long": "ab"}, "intervals": {"short": [0, None]}}


def test_evaluations_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps([ROW, {"step": 4, "metrics": {"short": float("nan")}}]))
    first, second = read_evaluations(path)
    assert first == ROW
    assert second["scored"] == {}, "older versions have none"
    assert second["metrics"]["short"] != second["metrics"]["short"]


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff\xfe", b"null", b"3", b'{"step": 1}', b"[1]", b"[" * 100_000),
        *(b'[{"metrics": {}}]', b'[{"step": "1", "metrics": {}}]', b'[{"step": true, "metrics": {}}]'),
        *(b'[{"step": 1}]', b'[{"step": 1, "metrics": []}]', b'[{"step": 1, "metrics": {"short": "0.5"}}]'),
        b'[{"step": 1, "metrics": {}, "scored": {"short": 1}}]',
        b'[{"step": 1, "metrics": {}, "intervals": {"short": 1}}]',
    ],
)
def test_other_evaluations_are_named(tmp_path, content):
    path = tmp_path / "evaluation.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"evaluation\.json"):
        read_evaluations(path)


@pytest.mark.parametrize(
    "content",
    [
        *(b"[: : {", b"\xff\xfe\x00", b"3", b"step: 3\n", b"- hello\n", b"- {stepp: 3}\n", b"- {step: x}\n"),
        *(b"- {step: 1, changed: 3}\n", b"- {step: 1, files: [a]}\n", b"- !!python/object:os.system {}\n"),
    ],
)
def test_another_history_is_named(tmp_path, content):
    path = tmp_path / "config.history"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"config\.history is not a list of changes by step: .+"):
        read_history(path)


def test_a_history_is_read_as_it_was_written(tmp_path):
    entries = [Change(0, files={"a": "b"}), Change(2, {"seed": [1, 2]})]
    write_history(tmp_path / "config.history", entries)
    assert read_history(tmp_path / "config.history") == entries
    assert read_history(tmp_path / "none") == []


def test_a_card_is_written_without_what_cannot_be_read(tmp_path):
    folder = RunFolder(tmp_path)
    folder.config.write_text("rewards: {short: {name: length}}\n")
    folder.evaluation.write_text("{")
    folder.environment.write_text("[]")
    with pytest.warns(UserWarning, match="model card is written without") as warned:
        assert "| short | `length` | 1.0 |" in card(folder, 3)
    said = " ".join(str(warning.message) for warning in warned)
    assert "without held-out figures" in said
    assert "without versions" in said
