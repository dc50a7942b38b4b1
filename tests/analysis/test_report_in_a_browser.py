"""The report of a study as people see it: wide and narrow, light and dark."""

from __future__ import annotations

import pytest

from morl.analysis import FailedRun, write_report
from morl.analysis.plan import Contrast, Plan

HOSTILE = '<script>document.title = "owned"</script><img src=x onerror="document.title = 1">'
SCREENS = 6
VIEWS = [(1280, 800, "light"), (1280, 800, "dark"), (390, 844, "light"), (390, 844, "dark")]


@pytest.fixture(scope="module")
def small(make_run, tmp_path_factory):
    """Two arms, eight seeds, one declared contrast."""
    runs = [
        make_run(arm, seed, {"good": [0.1, gain], "brief": [0.5, 0.4]}, None, None, None, estimator={"name": arm})
        for arm, gain in (("grpo", 0.5), ("gdpo", 0.9))
        for seed in range(8)
    ]
    plan = Plan((Contrast("grpo", "gdpo", "good"),), 0.02)
    return write_report(tmp_path_factory.mktemp("small"), runs, title="a study", command="make study", plan=plan)


@pytest.fixture(scope="module")
def large(make_run, tmp_path_factory):
    """Seven arms at two settings, four rewards, long and hostile names, failed runs."""
    arms = ["grpo", "grpo-no-std", "gdpo", "conditioned gdpo without batch normalisation", "rloo", HOSTILE, "x" * 80]
    rewards = {"good": [0.1, 0.9], "brief": [0.5, 0.4], "a reward with a rather long name": [3.0, 4.0], "safe": [1, 1]}
    runs = [
        make_run(
            f"{arm}, weight={weight}",
            seed,
            rewards,
            None,
            {"rewards.brief.weight": weight},
            arm,
            estimator={"name": arm},
        )
        for arm in arms
        for weight in (1, 0.5)
        for seed in (0, 1)
    ]
    failed = [FailedRun(f"arm {n}", n, "RewardError: gave up\n" * 20) for n in range(12)]
    return write_report(tmp_path_factory.mktemp("large"), runs, failed, title=HOSTILE, command=HOSTILE * 10)


@pytest.mark.parametrize("which", ["small", "large"])
def test_it_is_short_and_narrow_enough_and_nothing_in_it_runs(request, browser, which, tmp_path):
    page = browser.open(request.getfixturevalue(which))
    for width, height, scheme in VIEWS:
        page.view(width, height, scheme)
        page.screenshot(tmp_path / f"{which}-{width}-{scheme}.png")
        assert page.overflow() == 0, f"at {width} pixels"
        assert page.height() <= SCREENS * height, f"at {width} pixels"
        cut = "[...document.querySelectorAll('.wide, .panels')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert page.overflow() == 0, f"at {width} pixels, opened"
        if width < 600:
            assert page.evaluate(f"{cut}.length") == 0, "no column is hidden"
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = false)")
    assert page.problems() == []
    assert len(page.requests()) == 1, "the page itself"
    assert page.evaluate("document.title") in ("a study", HOSTILE)


def test_the_first_screen_has_the_result(browser, small):
    page = browser.open(small)
    (sentence,) = page.texts("#result > .forest .row p")
    assert sentence == "gdpo − grpo: good differs by 0.4 [0.4, 0.4]; gdpo higher"
    bottom = "document.querySelector('.ticks').getBoundingClientRect().bottom"
    assert page.evaluate(bottom) < 800
    assert page.evaluate("document.querySelectorAll('#result > .forest .point').length") == 8
    page.view(390, 844, "light")
    assert page.evaluate(bottom) < 844


def test_the_contents_lead_to_what_they_name(browser, large):
    page = browser.open(large, width=390)
    for target in page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))"):
        page.evaluate(f"document.querySelector('nav a[href=\"{target}\"]').click()")
        seen = f"document.querySelector('{target}').getBoundingClientRect()"
        page.wait_for(f"{seen}.height > 0 && {seen}.top < 844")


def test_the_scheme_of_the_reader_is_followed_in_figures_too(browser, small):
    ink = "getComputedStyle(document.querySelector('.panels svg text')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    page = browser.open(small)
    light = page.evaluate(f"[{ink}, {paper}]")
    page.view(1280, 800, "dark")
    dark = page.evaluate(f"[{ink}, {paper}]")
    assert light[0] != dark[0]
    assert light[1] != dark[1]
