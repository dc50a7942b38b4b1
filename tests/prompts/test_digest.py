"""Digests of rows: the same for the same content whatever holds it, another for any other."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset

from morl import Prompt
from morl.prompts import digest_of

ROWS = [Prompt("2+2?", {"answer": "4", "level": 1}), Prompt([{"role": "user", "content": "é"}], {"answer": None})]


def test_it_is_a_hash_of_the_rows_as_json():
    text = (
        b'["2+2?", [["answer", "4"], ["level", 1]]]\n[[{"role": "user", "content": "\\u00e9"}], [["answer", null]]]\n'
    )
    assert digest_of(ROWS) == f"2 rows, sha256 {hashlib.sha256(text).hexdigest()}"


@pytest.mark.parametrize(
    "other",
    [
        ROWS[::-1],
        ROWS[:1],
        [Prompt("2+2!", ROWS[0].columns), ROWS[1]],
        [Prompt("2+2?", {"answer": "5", "level": 1}), ROWS[1]],
        [Prompt("2+2?", {"answer": "4"}), ROWS[1]],
    ],
)
def test_other_rows_have_another(other):
    assert digest_of(other) != digest_of(ROWS)


def test_the_order_of_columns_is_no_difference():
    assert digest_of([Prompt("a", {"x": 1, "y": 2})]) == digest_of([Prompt("a", {"y": 2, "x": 1})])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1, 2]), np.array([1, 3])),
        (torch.tensor([1.0]), torch.tensor([2.0])),
        (b"a", b"b"),
        (datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)),
        (decimal.Decimal("0.1"), decimal.Decimal("0.2")),
        ({"deep": [np.float32(1)]}, {"deep": [np.float32(2)]}),
        (Dataset.from_dict({"x": [1]})[0], Dataset.from_dict({"x": [2]})[0]),
    ],
)
def test_values_that_json_does_not_have_count(one, other):
    assert digest_of([Prompt("a", {"x": one})]) != digest_of([Prompt("a", {"x": other})])


def test_it_is_the_same_in_another_process():
    """Of an object too, whose address is another there."""
    code = (
        "from morl import Prompt; from morl.prompts import digest_of; print(digest_of([Prompt('a', {'x': object()})]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest_of([Prompt("a", {"x": object()})])
