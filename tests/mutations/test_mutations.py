"""The tests see faults: a handful of mutations here, all of them by `make test-mutations`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from apply_mutations import ROOT, Notes, module_of
from mutations import MUTATIONS, SHORT, Mutation

FOLDER = Path(__file__).parent
HARMLESS = """
import apply_mutations, mutations, sys
harmless = mutations.Mutation("harmless", "lengths = lengths_B.to(torch.float64)", "lengths = lengths_B.double()",
                              ("tests/loss/test_aggregation.py",))
apply_mutations.MUTATIONS = (harmless,)
sys.exit(apply_mutations.main(sys.argv[1:]))
"""
KILLED = HARMLESS.replace("lengths_B.double()", "lengths_B.double() + 1")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, for this one has imported the package as it is."""
    return subprocess.run([sys.executable, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=1000)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.name for mutation in MUTATIONS])
def test_every_mutation_finds_its_line(mutation):
    assert module_of(ROOT, mutation).is_file()
    assert mutation.new != mutation.old
    for test in mutation.tests:
        assert (ROOT / test.split("::")[0]).is_file(), test


def test_the_names_of_mutations_are_distinct_and_the_short_list_is_made_of_them():
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names) >= 36
    assert set(SHORT) <= set(names)


@pytest.mark.parametrize(
    ("text", "places"), [("no such line", "nowhere"), ("from __future__ import annotations", "morl/")]
)
def test_a_text_that_does_not_stand_there_once_is_refused(text, places):
    with pytest.raises(LookupError, match=f"expects the text '{text}' once in the package; it stands in {places}"):
        module_of(ROOT, Mutation("lost", text, "", ()))


@pytest.mark.slow
def test_a_handful_of_mutations_is_killed():
    done = run("apply_mutations.py", "--jobs", "1", *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(SHORT)} of {len(SHORT)} mutations killed" in done.stdout


@pytest.mark.slow
def test_a_change_that_no_test_can_see_is_told_as_a_survivor():
    done = run("-c", HARMLESS, "harmless")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "SURVIVED" in done.stdout


@pytest.mark.slow
def test_what_was_killed_is_not_done_again_until_a_source_changes(tmp_path):
    notes = tmp_path / "notes.txt"
    first = run("-c", KILLED, "--notes", str(notes))
    assert first.returncode == 0, first.stdout + first.stderr
    assert [line.partition(" ")[2] for line in notes.read_text().splitlines()] == ["no mutation", "harmless"]
    again = run("-c", KILLED, "--notes", str(notes))
    assert f"1 mutations were killed before, as {notes} says\n1 of 1 mutations killed\n" in again.stdout
    notes.write_text(notes.read_text().replace(" ", "0 "))  # the digest of other sources
    assert not Notes(notes, again=False).has("harmless")
