"""What a person sees of a run."""

from __future__ import annotations

import io
import re

from rich.console import Console

from morl import train
from morl.runtime.estimates import estimate
from morl.runtime.held_out import HeldOut
from morl.training.callbacks import LiveDisplay, results_table


def shown(settings, *, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140)
    train(settings({"training.steps": 2}), callbacks=[LiveDisplay(console)])
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())


def test_a_terminal_shows_steps_rewards_by_name_throughput_and_distinct_advantages(settings):
    text = shown(settings, terminal=True)
    assert "2/2" in text
    of_rewards = ("short", "vowel", "trend", "dead groups", "share of advantage", "missing")
    for word in (*of_rewards, "loss", "truncated", "tokens/s", "different advantages"):
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
    console.print(results_table({0: before, 40: after}, ("form", "length")))
    text = console.file.getvalue()
    assert "after 40 steps" in text
    assert re.search(r"form\W+0\.100\W+0\.900\W+\+0\.800", text)
    assert re.search(r"length\W+1\.000\W+0\.500", text), "a reward of this name is not taken for the tokens"
    assert re.search(r"tokens\W+20\.000\W+12\.000\W+-8\.000", text)


def test_a_table_of_one_evaluation_has_no_change():
    after = {"form": 0.9, "completions/length_mean": 12.0, "completions/truncated": 0.0}
    console = Console(file=io.StringIO(), width=100)
    console.print(results_table({40: after}, ("form",)))
    text = console.file.getvalue()
    assert "after 40 steps" in text
    assert "before" not in text
    assert "change" not in text


def held_out(values: dict[int, float]) -> HeldOut:
    rows = sorted(values)
    return HeldOut({}, {}, {"form": estimate([values[row] for row in rows])}, {"form": values})


def test_means_and_their_change_have_intervals_and_the_number_of_prompts():
    """The change's interval is of the differences prompt by prompt: alike everywhere, it is narrower than either's."""
    metrics = {"completions/length_mean": 12.0, "completions/truncated": 0.0}
    first = {row: row / 100 for row in range(100)}
    last = {row: value + 0.2 + (row % 2) / 100 for row, value in first.items()}
    console = Console(file=io.StringIO(), width=100)
    means = {0: {**metrics, "form": 0.495}, 40: {**metrics, "form": 0.7}}
    console.print(results_table(means, ("form",), {0: held_out(first), 40: held_out(last)}))
    text = console.file.getvalue()
    assert "means over 100 prompts, [95% intervals]" in text
    (line,) = [line for line in text.splitlines() if line.count("[") == 3]
    intervals = [tuple(map(float, found)) for found in re.findall(r"\[([+-]?[\d.]+), ([+-]?[\d.]+)\]", line)]
    assert all(low < mean < high for mean, (low, high) in zip((0.495, 0.7, 0.205), intervals, strict=True))
    before, after, change = (high - low for low, high in intervals)
    assert change < 0.005 < 0.08 < min(before, after)
