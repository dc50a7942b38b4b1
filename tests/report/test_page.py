"""The page of a run: whole HTML, nothing in it runs or is fetched, and it opens for folders in any state."""

from __future__ import annotations

import json

import pytest
from pages import Page

from morl.cli import main
from morl.report.groups import GroupCounts, count_groups
from morl.report.page import render
from morl.report.samples import MOST_LINES, read_samples
from morl.report.text import MOST_CHARACTERS, visible
from morl.report.view import read_view

from .conftest import rows

CONFIG = {"estimator": {"name": "gdpo"}, "rewards": {"correct": {"weight": 1.0}, "brief": {"weight": 0.5}}}
COLUMNS = {"reward/correct/mean": [0.1, 0.2], "reward/brief/mean": [0.5, 0.6], "completions/length_mean": [5, 6]}


def page_of(folder):
    page = Page(render(read_view(folder)))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "base", "form"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "action")]
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), "nothing is fetched"
    return page


def scored(count=24):
    found = rows([{"correct": float(n % 3 == 0), "brief": None if n % 5 == 0 else n / 10} for n in range(count)], 4)
    for n, row in enumerate(found):
        row["advantage"] = n / 10 - 1
    return found


def test_the_page_has_verdicts_transcripts_groups_and_curves(make_folder):
    found = scored()
    found[23] |= {"columns": {"answer": "the reference"}, "failed": ["brief"]}
    page = page_of(make_folder(COLUMNS, found, CONFIG))
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {"verdicts", "transcripts", "groups", "curves"} <= ids
    labels = [attributes for tag, attributes in page.tags if tag == "input"]
    assert len(labels) == 3, "by advantage, and by each reward"
    for words in ("highest advantage", "lowest advantage", "without a score of brief (5)", "the reference"):
        assert words in page.text
    assert "There is no model/" in page.text
    assert "completed 100.0%" in page.text


def test_tokens_are_marked_by_what_the_loss_did_with_them(make_folder):
    found = scored(8)
    for row in found:
        row["pieces"] = [["up", "<b>go"], ["clipped", "od"], ["of a later version", "x"]]
    found[0] |= {"pieces": [["up", "ab"]] * 5000}
    page = page_of(make_folder(COLUMNS, found, CONFIG))
    marked = [attributes.get("class") for tag, attributes in page.tags if tag == "span"]
    assert {"fate-up", "fate-clipped", "fate-zero"} <= set(marked)
    assert "<b>good" in page.text
    assert "8000 characters more in the samples file" in page.text
    assert "clipped or bounded by the loss" in page.text


def test_held_out_completions_have_a_place_of_their_own(make_folder):
    folder = make_folder(COLUMNS, scored(8), CONFIG)
    rows_of_it = [{"prompt_row": n, "completion": f"held out {n}", "rewards": {"correct": n / 9}} for n in range(9)]
    (folder / "samples" / "evaluation-000008.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows_of_it))
    (folder / "samples" / "evaluation-000004.jsonl").write_text("{}\n")
    page = page_of(folder)
    assert "Held-out prompts after step 8" in page.text
    assert "held out 8" in page.text
    assert "all by score of correct, the highest first" in page.text


def test_every_selection_can_be_chosen(make_folder):
    source = render(read_view(make_folder(COLUMNS, scored(), CONFIG)))
    for number in (1, 2, 3):
        assert f"#filters:has(#filter-{number}:checked) ~ #selection-{number}" in source
        assert f'id="filter-{number}"' in source
        assert f'id="selection-{number}"' in source


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)> \x00\x1b[31m \u202eabc {{ 7 * 7 }} \ud800 שלום 🙂'


def test_nothing_of_a_hostile_run_becomes_markup(make_folder):
    found = scored(8)
    for row in found:
        row |= {"prompt": HOSTILE, "completion": HOSTILE, "status": HOSTILE, "columns": {HOSTILE: HOSTILE}}
        row["rewards"] = {HOSTILE: 1.0, "brief": None}
        row["turns"] = [{"reply": {"content": HOSTILE}, "answers": [{"role": HOSTILE, "content": HOSTILE}]}]
    columns = {f"reward/{HOSTILE.replace(chr(0), '').replace(chr(0xD800), '')}/mean": [0.1, 0.2]}
    page = page_of(make_folder(columns, found, {"estimator": {"name": HOSTILE}, "rewards": {}}))
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\\x00\\x1b[31m \\u202eabc" in page.text
    assert "שלום 🙂" in page.text


def test_a_long_text_is_cut_and_says_so():
    assert visible("a" * (MOST_CHARACTERS + 7)).endswith("[7 characters more in the samples file]")


@pytest.mark.parametrize(
    ("columns", "samples", "config", "says"),
    [
        (None, scored(4), CONFIG, "logs/metrics.csv is missing"),
        (COLUMNS, None, CONFIG, "There are no samples"),
        (COLUMNS, scored(4), None, "config.yaml is missing"),
        (COLUMNS, [{"older": True}], CONFIG, "1 lines of step-000008.jsonl cannot be read"),
        ({"reward/correct/mean": ["broken"]}, scored(4), CONFIG, "1 lines of logs/metrics.csv cannot be read"),
        (None, None, CONFIG, "No step was finished, so there is no verdict."),
    ],
)
def test_a_folder_in_any_state_opens_and_says_what_is_missing(make_folder, columns, samples, config, says):
    assert says in page_of(make_folder(columns, samples, config)).text


def test_samples_of_an_older_version_need_their_rewards_only(make_folder):
    older = [{"prompt_row": n // 2, "completion": "a", "rewards": {"correct": float(n)}} for n in range(4)]
    page = page_of(make_folder(None, older, CONFIG))
    assert "all by score of correct, the highest first" in page.text


def test_a_file_that_was_cut_off_is_read_up_to_there(make_folder):
    folder = make_folder(COLUMNS, scored(8), CONFIG)
    path = folder / "samples" / "step-000008.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert len(read_samples(path, 8).samples) == 7
    assert "1 lines of step-000008.jsonl cannot be read" in page_of(folder).text


def test_with_very_many_rewards_not_all_of_them_order_transcripts_or_have_a_curve(make_folder):
    names = [f"reward {k}" for k in range(150)]
    found = rows([{name: float(n % 2) for name in names} for n in range(24)], 4, advantage=0.5)
    source = render(read_view(make_folder({f"reward/{name}/mean": [0.1, 0.2] for name in names}, found, None)))
    page = Page(source)
    assert len(source) < 4_000_000
    assert len([tag for tag, _ in page.tags if tag == "input"]) == 1 + 8
    assert "the last 142 have none" in page.text
    assert "Mean score of each reward (the first 24 of 150)" in page.text
    assert page.text.count("reward 149") > 100, "each transcript shows what every reward gave"


def test_a_line_with_numbers_that_nothing_can_hold_is_no_sample(make_folder):
    folder = make_folder(COLUMNS, scored(8), CONFIG)
    path = folder / "samples" / "step-000008.jsonl"
    lines = path.read_text().splitlines()
    odd = [{"tokens": 1e400}, {"tokens": 10**30}, {"tokens": -1}, {"group": 1e400}, {"advantage": 10**400}]
    odd += [{"rewards": {"correct": 10**400, "brief": 1}}, {"contributions": {"correct": 10**400}}]
    path.write_text(
        "".join(json.dumps(json.loads(lines[k]) | change) + "\n" for k, change in enumerate(odd)) + lines[7]
    )
    assert read_samples(path, 8).faults == len(odd)
    assert "7 lines of step-000008.jsonl cannot be read" in page_of(folder).text


def test_of_many_completions_so_many_are_read_and_few_are_shown(make_folder):
    folder = make_folder(None, None, CONFIG)
    (folder / "samples").mkdir()
    line = '{"prompt_row": 0, "completion": "a", "rewards": {"correct": 1.0}, "advantage": 0.5}\n'
    (folder / "samples" / "step-000001.jsonl").write_text(line * (MOST_LINES + 3))
    source = render(read_view(folder))
    assert "3 are left out" in source
    assert len(source) < 200_000


def test_the_page_is_written_into_the_folder_which_stays_a_run_folder(make_folder, capsys):
    from morl.artifacts.folder import RunFolder

    folder = make_folder(COLUMNS, scored(), CONFIG)
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert RunFolder(folder).strangers() == []


def test_groups_are_told_apart_by_what_a_reward_says_of_them():
    scores = [0, 0, 1, 1, 0, 1, None, None, 0.5, 0.5, 1, None]
    samples = rows([{"correct": score} for score in scores], 2)
    counts = count_groups(read_all(samples), "correct", None, None)
    assert counts == GroupCounts(all_low=1, all_high=2, alike=1, mixed=1, unscored=1)


@pytest.mark.parametrize(
    ("score", "low", "high", "kind"), [(1, 0, 1, "all_high"), (0, 0, 1, "all_low"), (0, None, None, "all_low")]
)
def test_a_reward_of_one_value_is_placed_by_its_bounds(score, low, high, kind):
    counts = count_groups(read_all(rows([{"correct": score}] * 4, 2)), "correct", low, high)
    assert counts == GroupCounts(**{kind: 2})


def read_all(samples):
    from morl.report.samples import _sample

    return [_sample(row, number) for number, row in enumerate(samples)]


def test_a_conversation_shows_calls_of_tools_what_turns_earned_and_whatever_stands_in_a_turn(make_folder):
    found = rows([{"correct": 1.0, "brief": 0.5}], 1)
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "<2>"}}}
    found[0]["turns"] = [
        {
            "tokens": 3,
            "reply": {"role": "assistant", "content": "Let me see", "tool_calls": [call]},
            "answers": [{"role": "tool", "name": "add", "content": "3"}],
            "rewards": {"correct": 0.25},
        },
        {"reply": {"role": "assistant", "content": None, "tool_calls": ["odd"]}, "answers": ["plain"], "rewards": None},
        {"reply": "no message", "answers": None},
    ]
    found[0]["turn_advantages"] = [0.5, -1.25]
    text = page_of(make_folder(COLUMNS, found, CONFIG)).text
    for said in (
        "Turn 1: correct 0.25, advantage +0.5",
        'Let me see\ncalls add({"a": 1, "b": "<2>"})',
        "tool add",
        "Turn 2: advantage -1.25",
        "calls odd",
        "plain",
        "no message",
    ):
        assert said in text


def test_the_newest_file_that_has_completions_is_shown(make_folder, capsys):
    folder = make_folder(COLUMNS, rows([{"correct": 1.0, "brief": 0.5}], 1), CONFIG)
    (folder / "samples" / "step-000009.jsonl").write_text('{"half')
    assert "Transcripts of step 8" in (text := page_of(folder).text)
    assert "step-000009.jsonl holds no completions." in text
    assert main(["explain", str(folder)]) == 0
    assert "correct, step 8:" in capsys.readouterr().out


def test_the_first_screen_has_what_the_held_out_prompts_earned(make_folder):
    folder = make_folder(COLUMNS, rows([{"correct": 1.0, "brief": 0.5}], 1), CONFIG)
    evaluations = [
        {"step": step, "metrics": {"correct": mean, "brief": None}, "intervals": {"correct": ends}}
        for step, mean, ends in ((0, 0.25, [0.1, 0.4]), (1, 0.3, [0.2, 0.4]), (2, 0.5, None))
    ]
    del evaluations[2]["intervals"]
    (folder / "evaluation.json").write_text(json.dumps(evaluations))
    text = page_of(folder).text
    assert "rewardbeforeafter step 2correct0.250 [0.100, 0.400]0.500" in text.replace("\n", "")
    (folder / "evaluation.json").write_text(json.dumps(evaluations)[:40])
    assert "Means on the held-out prompts" not in page_of(folder).text


def test_completions_that_were_not_trained_on_are_not_told_what_they_add(make_folder):
    folder = make_folder(COLUMNS, rows([{"correct": 1.0, "brief": 0.5}] * 2, 1), CONFIG)
    held_out = [
        {key: row[key] for key in ("prompt", "completion", "prompt_row", "rewards")}
        for row in rows([{"correct": 9.0, "brief": 0.5}], 1)
    ]
    (folder / "samples" / "evaluation-000008.jsonl").write_text(json.dumps(held_out[0]))
    text = page_of(folder).text
    assert "Held-out prompts after step 8" in text
    assert "correct is 1, the only score of the group" in text
    assert "correct is 9" not in text
