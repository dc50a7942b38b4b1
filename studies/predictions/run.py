"""Does `morl diagnose` foresee what the studies found?  Predictions before training beside outcomes, in one table.

    python studies/predictions/run.py

Predictions are made anew, from the initial policies of the studies: minutes of one core.  Outcomes are those of the
committed results: the held-out reward before training, at the first evaluation after it, and at the end, as medians
over seeds.  Writes `results.json` beside itself; `python docs/generate.py` makes the table of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from morl.analysis.compact import compact_json
from morl.analysis.results import Results
from morl.config import merge, read_yaml
from morl.diagnosis.run import diagnose

HERE = Path(__file__).resolve().parent
STUDIES = HERE.parent
COMMAND = "python studies/predictions/run.py"
PROMPTS = 256


@frozen
class Case:
    """Lines of a study that start from one policy with the same weights.

    Attributes:
        study: its folder.
        label: of the case.
        overrides: of the study's config.
        lines: estimator -> the line of the study that used it.
        reward: that the prediction is about.
    """

    study: str
    label: str
    overrides: tuple[str, ...]
    lines: dict[str, str]
    reward: str


def _tool_calling(slips: float) -> Case:
    names = ("grpo", "grpo-no-std", "gdpo")
    return Case(
        "tool-calling",
        f"tool calling, formatted_slips {slips}",
        (f"--policy.task_options.formatted_slips={slips}",),
        {name: f"{name}, task_options.formatted_slips={slips}" for name in names},
        "format",
    )


CASES = (
    _tool_calling(0.2),
    _tool_calling(0.8),
    *(
        Case(
            "weights",
            f"tool calling, formatted_slips 0.8, format weight {weight}",
            (f"--rewards.format.weight={weight}",),
            {"grpo": f"grpo, format weight {weight}"},
            "format",
        )
        for weight in (3, 6)
    ),
    *(
        Case(
            "math",
            f"math, brief weight {weight}",
            (f"--rewards.brief.weight={weight}",),
            {name: f"{name}, brief.weight={weight}" for name in ("grpo", "grpo-no-std", "gdpo")},
            "correct",
        )
        for weight in (1, 0.5, 0.25)
    ),
)


@frozen
class Row:
    """A prediction and its outcome.

    Attributes:
        case, estimator, reward: what it is about.
        predicted: `up`, `down` or `unclear`.
        correlation, low, high: of advantage and reward, with the interval over prompts.
        before, first, end: held-out reward; None where the study is not there.
        steps: of training before `first` was measured.
    """

    case: str
    estimator: str
    reward: str
    predicted: str
    correlation: float
    low: float | None
    high: float | None
    before: float | None
    first: float | None
    end: float | None
    steps: int | None


def rows(case: Case) -> Iterator[Row]:
    """The predictions of a case with their outcomes."""
    tree = merge(read_yaml(STUDIES / case.study / "config.yaml"), [*case.overrides, "--trainer.progress=false"])
    diagnosis = diagnose(tree, estimators=list(case.lines), prompts=PROMPTS)
    own = {step.estimator.removesuffix(" (this config)"): step for step in diagnosis.steps}
    for estimator, name in case.lines.items():
        push = own[estimator].pushes[case.reward]
        low, high = push.interval or (None, None)
        found = outcome(case, name)
        yield Row(case.label, estimator, case.reward, push.direction, push.correlation, low, high, **found)


def outcome(case: Case, line: str) -> dict[str, Any]:
    """What the committed results have of a line; nothing where the study is not there."""
    path = STUDIES / case.study / "results.json"
    lines = {one.name: one for one in Results.load(path).lines} if path.is_file() else {}
    if line not in lines:
        return dict.fromkeys(("before", "first", "end", "steps"))
    curve = lines[line].curves["held-out"][case.reward]
    return {"before": curve.median[0], "first": curve.median[1], "end": curve.median[-1], "steps": int(curve.steps[1])}


def main() -> None:
    """Writes `results.json`."""
    found = [asdict(row) for case in CASES for row in rows(case)]
    content = {"command": COMMAND, "prompts": PROMPTS, "rows": _rounded(found)}
    (HERE / "results.json").write_text(compact_json(content), encoding="utf-8")


def _rounded(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()} for row in found]


if __name__ == "__main__":
    main()
