"""The page of a run as people see it: wide and narrow, light and dark, whatever its completions hold."""

from __future__ import annotations

import pytest

from morl.report.page import render
from morl.report.view import read_view

from .conftest import rows

SCREENS = 6
VIEWS = [(1280, 800, "light"), (1280, 800, "dark"), (390, 844, "light"), (390, 844, "dark")]
HOSTILE = (
    '<script>document.title = "owned"</script></pre></details><img src=x onerror="document.title = 1">'
    '<a href="javascript:document.title = 2">x</a><style>* { display: none }</style><iframe srcdoc="x"></iframe>'
    '<meta http-equiv="refresh" content="0; url=http://127.0.0.1:1/"> \x00\x1b[31m \u202eabc \ud800 שלום 🙂'
)


@pytest.fixture
def page_file(make_folder, tmp_path):
    """A run of eight steps, five rewards, and completions of hostile and of very long texts."""
    rewards = ["correct", "brief", "a_reward_with_a_rather_long_name", "constant", "never"]
    samples = rows(
        [
            {"correct": float(n % 3 == 0), "brief": n / 50, rewards[2]: None, "constant": 1.0, "never": None}
            for n in range(48)
        ],
        4,
        columns={"answer": HOSTILE},
        status="completed",
    )
    for n, row in enumerate(samples):
        row |= {"completion": HOSTILE if n % 2 else "word" * 5000, "prompt": HOSTILE, "advantage": (n - 24) / 10}
    columns: dict[str, list[float | str]] = {"completions/length_mean": [5.0] * 8, "time/tokens_per_second": [9.0] * 8}
    columns |= {"conversation/status/completed": [0.75] * 8, "conversation/status/max_turns": [0.25] * 8}
    for name in rewards[:4]:
        columns |= {f"reward/{name}/mean": [0.1 * step for step in range(8)]}
        columns |= {
            f"reward/{name}/{kind}": [0.25] * 8 for kind in ("groups_mixed", "groups_all_low", "groups_all_high")
        }
        columns |= {f"reward/{name}/advantage_share": [0.25] * 8, f"reward/{name}/saturation": [0.9] * 8}
        columns |= {f"reward_correlation/correct~{name}": [0.5] * 8}
    columns["reward/constant/mean"] = [1.0] * 8
    folder = make_folder(columns, samples, {"estimator": {"name": HOSTILE[:200]}, "rewards": {}})
    path = tmp_path / "page.html"
    path.write_text(render(read_view(folder)), encoding="utf-8", errors="replace")
    return path


def test_it_is_short_and_narrow_enough_and_nothing_in_it_runs(browser, page_file, tmp_path):
    page = browser.open(page_file)
    title = page.evaluate("document.title")
    for width, height, scheme in VIEWS:
        page.view(width, height, scheme)
        page.screenshot(tmp_path / f"run-{width}-{scheme}.png")
        assert page.overflow() == 0, f"at {width} pixels"
        assert page.height() <= SCREENS * height, f"at {width} pixels"
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert page.overflow() == 0, f"at {width} pixels, opened"
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = false)")
    assert page.evaluate("document.title") == title == "run"
    assert page.evaluate("document.querySelectorAll('script, img, iframe').length") == 0
    assert page.evaluate("getComputedStyle(document.body).display") == "block", "no style of a completion counts"
    assert page.problems() == []
    assert len(page.requests()) == 1, "the page itself"


def test_a_filter_shows_its_completions_and_hides_the_others(browser, page_file):
    page = browser.open(page_file)
    shown = "[...document.querySelectorAll('.selection')].map(e => getComputedStyle(e).display != 'none')"
    before = page.evaluate(shown)
    assert before == [True] + [False] * (len(before) - 1)
    page.evaluate("document.querySelector('#filter-2').click()")
    assert page.evaluate(shown) == [False, True] + [False] * (len(before) - 2)
