"""What a person sees of a run."""

from __future__ import annotations

import io
import re

from rich.console import Console

from morl import train
from morl.training.callbacks import LiveDisplay, results_table


def shown(settings, *, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140)
    train(settings({"training.steps": 2}), callbacks=[LiveDisplay(console)])
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())


def test_a_terminal_shows_steps_rewards_by_name_throughput_and_distinct_advantages(settings):
    text = shown(settings, terminal=True)
    assert "2/2" in text
    for word in ("short", "vowel", "dead groups", "share of advantage", "tokens/s", "distinct advantages"):
        assert word in text


def test_without_a_terminal_there_is_a_line_per_step(settings):
    plan, more, *lines = shown(settings, terminal=False).splitlines()
    assert plan.startswith("a step: ")
    assert more.startswith("a pass: ")
    assert len(lines) == 2
    for number, line in enumerate(lines, start=1):
        assert f"step {number}/2" in line
        assert re.search(r"short \d\.\d{3}  vowel \d\.\d{3}", line)


def test_the_table_at_the_end_shows_every_reward_before_and_after():
    before = {"form": 0.1, "length": 1.0, "completions/length_mean": 20.0, "completions/truncated": 0.5}
    after = {"form": 0.9, "length": 0.5, "completions/length_mean": 12.0, "completions/truncated": 0.0}
    console = Console(file=io.StringIO(), width=100)
    console.print(results_table(before, after, ("form", "length"), 40))
    text = console.file.getvalue()
    assert "after 40 steps" in text
    assert re.search(r"form\W+0\.100\W+0\.900\W+\+0\.800", text)
    assert re.search(r"length\W+1\.000\W+0\.500", text), "a reward of this name is not taken for the tokens"
    assert re.search(r"tokens\W+20\.000\W+12\.000\W+-8\.000", text)
