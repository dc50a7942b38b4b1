"""The sweep over the architectures of transformers says what becomes of each."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import architectures


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("llama", r"packed training, packed sampling: \S+, \S+"),
        ("gpt_oss", r"padded training, padded sampling: \S+, \S+"),
        ("rwkv", "refused: RwkvForCausalLM changes its weights while it computes.*"),
        ("blt", r"not made: ValueError: \d+ parameters"),
    ],
)
def test_what_becomes_of_an_architecture(kind: str, words: str) -> None:
    said, difference = architectures.outcome(kind)
    assert re.fullmatch(words, said)
    assert difference <= architectures.TOLERANCE


def test_a_model_that_is_off_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(architectures, "TOLERANCE", 1e-12)
    monkeypatch.setattr(sys, "argv", ["architectures.py", "llama"])
    assert architectures.main() == 1
    assert capsys.readouterr().out.endswith("off by more than 1e-12: llama\n")
