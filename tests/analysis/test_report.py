"""The page: it holds what it promises, stands on its own, and takes nobody's word for markup."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pages import Page

from morl.analysis import FailedRun, require_matplotlib, write_report
from morl.analysis.plan import Contrast, Plan
from morl.analysis.report import RESULTS
from morl.analysis.results import Results
from morl.errors import ConfigError, DataError

NASTY = '<script>alert("$x$ & y")</script>'


@pytest.fixture
def report(tmp_path):
    def write(runs, failed=(), title="a study", command="make study") -> Page:
        path = write_report(tmp_path / "report", runs, failed, title=title, command=command)
        return Page(path.read_text(encoding="utf-8"))

    return write


@pytest.fixture(scope="module")
def grid(make_run):
    """Two arms, two weights, two seeds, two rewards."""
    return [
        make_run(
            f"{arm}, weight={weight}",
            seed,
            {"good": [0.1 * seed + weight / 10] * 8, "brief": [1 - weight / 10] * 8},
            {0: {"good": 0.0, "brief": 0.0}, 8: {"good": 0.5 + seed / 10, "brief": weight / 10}},
            {"rewards.brief.weight": weight},
            arm,
            estimator={"name": arm},
            rewards={"brief": {"weight": weight}},
        )
        for arm in ("grpo", "gdpo")
        for weight in (1, 0.5)
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def grid_file(grid, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid") / "report"
    failed = FailedRun("gdpo, weight=1", 7, "RewardError: gave up", Path("cell.log"))
    path = write_report(folder, grid, [failed], title="a study", command="make study")
    assert path == folder / "report.html"
    return path


@pytest.fixture(scope="module")
def grid_page(grid_file):
    return Page(grid_file.read_text(encoding="utf-8"))


def test_a_report_of_a_grid(grid_page, grid_file):
    page = grid_page
    assert page.texts["h1"] == ["a study"]
    assert "make study" in page.texts["pre"][-1]
    headings = page.texts["h2"]
    assert headings == [
        "Result",
        "Curves",
        "Trade-offs",
        "Varied settings",
        "Final values",
        "All differences",
        "Collapse",
        "Runs",
        "Settings and versions",
    ]
    ids = {attributes.get("id") for _, attributes in page.tags}
    contents = [attributes["href"] for attributes in page.all("a")]
    assert len(contents) == 1 + len(headings)
    assert {str(target).removeprefix("#") for target in contents} <= ids, "the table of contents leads somewhere"
    captions = page.texts["caption"]
    assert len(captions) == len(page.all("table"))
    assert "Final value on the held-out prompts: median [quartiles] over seeds" in captions
    assert "Area under the curve of the training batches: median [quartiles] over seeds" in captions
    text = " ".join(page.texts["main"][0].split())
    assert "1 of 9 runs failed" in text
    assert "RewardError: gave up" in text
    assert "More in cell.log" in text
    assert (
        "No contrast was declared before the runs. All 16 comparisons are one family, in which a verdict needs 10"
        in text
    )
    assert "No comparison has the verdict of a difference" in text
    assert "comparisons show" not in text, "no count of differences"
    assert "estimator.name" in page.texts["th"]
    assert "optimizer.lr" in page.texts["th"]
    assert "torch" in page.texts["th"]
    shown = " ".join(page.texts["figcaption"])
    for part in (
        "on held-out prompts",
        "of the training batches",
        "against each other",
        "against rewards.brief.weight",
    ):
        assert part in shown
    assert Results.load(grid_file.with_name(RESULTS)).command == "make study"


def test_it_stands_on_its_own(grid_page):
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in grid_page.tags}
    for tag, attributes in grid_page.tags:
        for name, value in attributes.items():
            if name.startswith("xmlns"):
                continue
            assert "//" not in (value or ""), f"{tag} {name}={value} leads elsewhere"
            if name in ("href", "xlink:href", "src"):
                assert (value or "").startswith("#")
    assert "@import" not in grid_page.texts["style"][0]


def test_its_figures_can_be_read_in_any_colour_and_without_eyes(grid_page):
    figures = grid_page.all("svg")
    figures = [svg for svg in figures if svg.get("class") != "swatch"]
    # Two rewards at two weights, on held-out prompts and in training; trade-offs at two weights; both rewards against
    # the weight; eight diagnostics at two weights.
    assert len(figures) == 4 + 4 + 2 + 2 + 16
    for svg in figures:
        assert svg["role"] == "img"
        assert svg["aria-label"]
    titles = grid_page.texts["title"]
    assert len(titles) == 1 + len(figures), "one for the page and one for each figure"
    assert all(titles)


def test_ids_are_unique_and_what_is_referred_to_is_there(grid_page, grid_file):
    ids = [attributes["id"] for _, attributes in grid_page.tags if "id" in attributes]
    text = grid_file.read_text()
    referred = set(re.findall(r"url\(#([\w-]+)\)|href=\"#([\w-]+)\"", text))
    assert {one or other for one, other in referred} <= set(ids)
    assert len(ids) == len(set(ids)), "no figure needs the definitions of another, which may be closed"


def test_headings_do_not_skip_a_level(grid_page):
    levels = [int(tag[1]) for tag, _ in grid_page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_names_are_text_and_nothing_else(report, make_run):
    nasty = {NASTY: [0.5, 1.0], "brief_$a$": [0.5, 0.0]}
    runs = [
        make_run(line, 0, nasty, None, {NASTY: line}, None, **{NASTY: NASTY + line}) for line in (NASTY, "_ $b$ </td>")
    ]
    page = report(runs, [FailedRun(NASTY, 1, NASTY)], title=NASTY, command=NASTY)
    assert not page.all("script")
    assert page.texts["h1"] == [NASTY]
    assert all(NASTY in text for text in page.texts["pre"])
    assert any(NASTY in heading for heading in page.texts["th"])
    assert any(NASTY in label for label in page.texts["text"]), "in the figures, too"
    assert any("_ $b$ </td>" in label for label in page.texts["li"]), "a legend leaves out no line"


def test_a_single_run(report, make_run):
    page = report([make_run("gdpo", 0, {"good": [0.5, 1.0]})])
    assert "All differences" not in page.texts["h2"]
    assert "Trade-offs" not in page.texts["h2"]
    assert "The lines have the same settings." in page.texts["p"]


def test_only_failures(report):
    page = report([], [FailedRun("gdpo", 0, "no memory")])
    assert page.texts["h2"] == ["Result", "Runs", "Settings and versions"]
    assert not page.all("svg")
    assert "1 of 1 runs failed" in page.texts["strong"][0]


def test_lines_that_are_all_equal(report, make_run):
    page = report([make_run(line, seed, {"good": [1.0] * 3}) for line in ("a", "b") for seed in range(5)])
    said = page.texts["td"]
    assert said.count("no verdict: 5 pairs, 2 comparisons need 7") == 2
    assert "[0, 0]" in said


def test_declared_contrasts_are_told_first(make_run, tmp_path):
    runs = [
        make_run(arm, seed, {"good": [0.5], "brief": [0.25]}, {1: {"good": value + seed / 100, "brief": 0.5}})
        for arm, value in (("grpo", 0.25), ("gdpo", 0.5))
        for seed in range(8)
    ]
    contrasts = (Contrast("grpo", "gdpo", "primary"), Contrast("grpo", "gdpo", "brief"))
    plan = Plan(contrasts, 0.02, {"good": (0, 1), "brief": (-1, 1)})
    page = write_report(tmp_path, runs, title="t", command="c", plan=plan)
    text = " ".join(Page(page.read_text(encoding="utf-8")).texts["main"][0].split())
    before = text.split("Not dominated")[0]
    assert "gdpo − grpo: primary differs by 0.125 [0.125, 0.125]; gdpo higher" in before
    assert "gdpo − grpo: brief differs by 0 [0, 0]; no difference larger than 0.02 (0 would have been seen" in before
    assert "primary is the mean of rewards that were rescaled to [0, 1]: good from 0 to 1, brief from -1 to 1." in text
    assert "no verdict: not declared" in text


def test_the_same_runs_make_the_same_files(make_run, tmp_path):
    runs = [make_run("gdpo", seed, {"good": [0.5, seed], "brief": [0.5, 0.25]}) for seed in (0, 1)]
    pages = [write_report(tmp_path / name, runs, title="t", command="c") for name in ("one", "two")]
    assert pages[0].read_text() == pages[1].read_text()
    assert (tmp_path / "one" / RESULTS).read_text() == (tmp_path / "two" / RESULTS).read_text()


def test_figures_for_documents(grid_file, tmp_path):
    from morl.analysis.figures import save_study_plots

    written = save_study_plots(grid_file.with_name(RESULTS), tmp_path / "plots")
    assert [path.name for path in written] == [
        "rewards-held-out.svg",
        "rewards-training.svg",
        "pareto.svg",
        "setting-rewards.brief.weight.svg",
        "collapse.svg",
    ]
    for path in written:
        root = ElementTree.parse(path).getroot()
        assert root.find("{http://www.w3.org/2000/svg}title") is not None
        assert "currentColor" not in path.read_text(), "an image has no page to take its colour from"


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, make_run, tmp_path):
    monkeypatch.setattr("morl.analysis.report.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"report needs matplotlib; install it with: pip install 'morl-llm\[report\]'"
    ):
        require_matplotlib()
    with pytest.raises(ConfigError, match="matplotlib"):
        write_report(tmp_path / "report", [make_run("gdpo", 0, {"good": [0.5]})], title="t", command="c")
    assert not (tmp_path / "report").exists()


def test_the_import_is_light():
    heavy = ["torch", "lightning", "transformers", "matplotlib", "jinja2"]
    code = f"import sys, morl.analysis; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_reference_lists_what_is_in_the_file(grid_file, repository):
    text = (repository / "docs" / "reference" / "report.md").read_text(encoding="utf-8").split("## results.json")[1]
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    listed = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    results = json.loads(grid_file.with_name(RESULTS).read_text())
    assert listed == [*results, *results["lines"][0]]


def test_a_damaged_run_is_reported_as_failed_and_does_not_take_the_others_along(make_run, tmp_path):
    runs = [make_run(line, seed, {"good": [0.1, 0.2]}) for line in ("gdpo", "grpo") for seed in (0, 1)]
    table = runs[1].folder / "logs" / "metrics.csv"
    table.write_text(table.read_text().splitlines()[0][:20])
    page = write_report(tmp_path / "report", runs, title="t", command="c")
    (failure,) = Results.load(page.parent / RESULTS).failures
    assert (failure.line, failure.seed) == ("gdpo", 1)
    assert failure.error.startswith("its folder cannot be read: ")
    assert "its folder cannot be read" in page.read_text(encoding="utf-8")
    for run in runs:
        (run.folder / "logs" / "metrics.csv").unlink()
    with pytest.raises(DataError, match="report this run as failed"):
        write_report(tmp_path / "report", runs, title="t", command="c")
