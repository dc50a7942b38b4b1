"""The report of a study: one self-contained HTML file, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from morl.analysis import tables
from morl.analysis.differences import fewest_pairs
from morl.analysis.forest import forests, headline
from morl.analysis.looks import looks_of
from morl.analysis.plan import PRIMARY, Plan
from morl.analysis.results import Results
from morl.analysis.runs import FailedRun, LabelledRun, sorted_out
from morl.analysis.summary import summarise
from morl.errors import ConfigError

PAGE = "report.html"
RESULTS = "results.json"


def write_report(
    folder: Path,
    runs: Sequence[LabelledRun],
    failed: Sequence[FailedRun] = (),
    *,
    title: str,
    command: str,
    plan: Plan | None = None,
) -> Path:
    """Writes `report.html` and `results.json` into a folder; returns the path of the page.

    Args:
        folder: made if need be; an earlier report in it is overwritten.
        runs: the finished runs of the study; one whose folder is damaged is reported as failed.
        failed: those that are to be reported as failed.
        title: heading of the page.
        command: what somebody types to make the study again.
        plan: what was said beforehand about what the study is to find out.

    Raises:
        ConfigError: matplotlib is not installed, there is nothing to report, or runs of a line differ in settings.
        DataError: no run folder can be read.
    """
    require_matplotlib()
    readable, damaged = sorted_out(runs)
    results = summarise(readable, [*failed, *damaged], title, command, plan)
    page = render(results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULTS).write_text(results.to_json(), encoding="utf-8")
    (folder / PAGE).write_text(page, encoding="utf-8")
    return folder / PAGE


def require_matplotlib() -> None:
    """Fails early where figures could not be drawn.

    Raises:
        ConfigError: says what to install.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError("a report needs matplotlib; install it with: pip install 'morl-llm[report]'")


def render(results: Results) -> str:
    """The page; needs matplotlib."""
    from morl.analysis.figures import study_plots
    from morl.analysis.html import environment, picture
    from morl.analysis.svg import house_style

    with house_style():
        pictures = {plot.name: picture(plot) for plot in study_plots(results)}
    shown, others = headline(results)
    return (
        environment("morl.analysis")
        .get_template("report.html.jinja")
        .render(
            results=results,
            pictures=pictures,
            forests=forests(results, shown),
            other_forests=forests(results, others),
            others=len(others),
            colours=line_colours(results),
            tables=tables,
            measures=[measure for measure in tables.MEASURES if results.lines],
            primary=PRIMARY,
            declared=any(found.declared for found in results.comparisons),
            family=tables.family(results),
            needed=fewest_pairs(max(1, tables.family(results))),
        )
    )


def line_colours(results: Results) -> dict[str, str]:
    """The colour of every line: its estimator's, unless all lines are of one."""
    look = looks_of({line.name: results.estimator_of(line) for line in results.lines})
    return {name: one.colour for name, one in look.items()}
