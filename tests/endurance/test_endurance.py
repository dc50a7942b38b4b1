"""A few kills of the run that writes most; `make test-endurance` makes more, of every config."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("endurance", Path(__file__).with_name("endurance.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
endurance = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(endurance)


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_leaves_what_one_in_peace_does(tiny_model, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"the answer is {n}"}) + "\n" for n in range(12)))
    outcome = endurance.endure("everything", tiny_model, prompts, tmp_path, 3, random.Random(0), full=2)
    assert outcome.kills >= 3
    assert outcome.full >= 2
    assert outcome.resumes
