"""Verdicts: in one family, only of what was declared in time, and never of too few pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from morl.analysis.comparisons import within
from morl.analysis.differences import holm, paired_difference
from morl.analysis.plan import Contrast, Place, Plan, check_primary, read_contrasts, read_primary
from morl.analysis.results import Comparison, Results
from morl.analysis.runs import read_run
from morl.analysis.summary import summarise
from morl.errors import ConfigError

BY = (0.1, 0.11, 0.09, 0.12, 0.1, 0.08, 0.1, 0.13, 0.1, 0.09)
"""Differences that are plain to see."""


@pytest.fixture
def study(make_run):
    """`study(differences, plan)`: gdpo above grpo by these, in the reward `good`; equal in `brief`."""

    def make(apart: Sequence[float], plan: Plan) -> Results:
        runs = [
            make_run(arm, seed, {"good": [0.5], "brief": [0.5]}, {1: {"good": value, "brief": 0.25}})
            for seed, difference in enumerate(apart)
            for arm, value in (("grpo", 0.25), ("gdpo", 0.25 + difference))
        ]
        return summarise([read_run(run) for run in runs], (), "a study", "make study", plan)

    return make


def said(results: Results, reward: str = "good") -> Comparison:
    return next(found for found in results.comparisons if (found.measure, found.reward) == ("final", reward))


GOOD = Contrast("grpo", "gdpo", "good")


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        (1, "one pair, no interval"),
        (4, "no verdict: 4 pairs are too few"),
        (5, "no verdict: 5 pairs, one comparison needs 6"),
        (6, "gdpo higher"),
    ],
)
def test_a_verdict_needs_as_many_pairs_as_its_test(study, pairs, verdict):
    assert said(study(BY[:pairs], Plan((GOOD,)))).verdict == verdict


def test_the_lower_line_is_named_neither_way_round(study):
    turned = Contrast("gdpo", "grpo", "good")
    found = said(study(BY[:6], Plan((turned,))))
    assert (found.first, found.second, found.verdict) == ("gdpo", "grpo", "gdpo higher")
    assert found.difference.mean == pytest.approx(-0.1)


def test_what_is_not_declared_has_no_verdict(study):
    results = study(BY, Plan((GOOD,)))
    assert said(results).declared
    assert said(results).p_adjusted == 2 / 2**10
    assert said(results, "brief").verdict == "no verdict: not declared"
    assert said(results, "brief").p_adjusted is None


def test_without_a_declaration_all_comparisons_are_one_family(study):
    found = said(study(BY, Plan()))
    assert found.p_adjusted == 4 * 2 / 2**10, "two rewards, final values and areas"
    assert (found.verdict, found.declared) == ("gdpo higher", False)
    assert said(study(BY[:7], Plan())).verdict == "no verdict: 7 pairs, 4 comparisons need 8"


def test_a_declared_contrast_without_runs_counts_in_the_family(study):
    other = Contrast("grpo", "another arm", "good")
    assert said(study(BY[:6], Plan((GOOD, other)))).verdict == "no verdict: 6 pairs, 2 comparisons need 7"
    assert said(study(BY[:7], Plan((GOOD, other)))).verdict == "gdpo higher"


def test_a_contrast_that_was_declared_late_has_no_verdict(study):
    results = study(BY, Plan((GOOD,), late={str(GOOD): 12}))
    assert said(results).verdict == "no verdict: declared when 12 runs had finished"
    assert not any(found.declared or found.seen for found in results.comparisons)
    assert "'gdpo - grpo: good' was declared when 12 runs had finished, and gives no verdict." in results.warnings


def test_no_difference_is_seen_or_none_that_is_larger_than_a_margin(study):
    around = [0.01, -0.01, 0.012, -0.009, 0.008, -0.011, 0.01, -0.01]
    assert said(study(around, Plan((GOOD,)))).verdict == "no difference seen"
    assert said(study(around, Plan((GOOD,), 0.001))).verdict == "no difference seen"
    found = said(study(around, Plan((GOOD,), 0.02)))
    assert found.verdict == "no difference larger than 0.02"
    assert found.detectable == pytest.approx(0.0127, abs=2e-3)


def test_equivalence_is_two_one_sided_tests():
    """Of n = 8 with mean 0 and s = 1 the 90% interval ends at t_{.95, 7} / sqrt(8) = 1.894579 / 2.828427 = 0.669834."""
    sample = [1.0, -1.0] * 4
    scale = (7 / 8) ** 0.5
    unit = [value * scale for value in sample]
    assert within(unit, 0.6699, 1)
    assert not within(unit, 0.6697, 1)
    assert not within(unit, 0.6699, 2), "with more comparisons the margin must be kept by a wider interval"


def test_p_values_can_be_had_again_from_the_file(study, tmp_path):
    """Thirds have no short decimal form, and ties of theirs are lost when they are rounded."""
    path = tmp_path / "results.json"
    path.write_text(study([1 / 3, 2 / 3, -1 / 3, 1 / 3, 2 / 3, 1], Plan((GOOD,))).to_json())
    tree = json.loads(path.read_text())
    scores = {line["name"]: line["scores"]["final"] for line in tree["lines"]}
    for found in tree["comparisons"]:
        if found["measure"] == "final":
            first, second = (
                {int(seed): value for seed, value in scores[found[end]][found["reward"]]["by_seed"].items()}
                for end in ("first", "second")
            )
            again = paired_difference(first, second)
            assert again.p == found["difference"]["p"]
            assert (again.low, again.high) == (found["difference"]["low"], found["difference"]["high"])
    declared = [found for found in tree["comparisons"] if found["declared"]]
    assert holm([found["difference"]["p"] for found in declared]) == [found["p_adjusted"] for found in declared]
    assert Results.load(path).to_json() == path.read_text()


def test_the_primary_metric_is_the_mean_of_rescaled_rewards(make_run):
    runs = [
        make_run("gdpo", 0, {"format": [0.0, 1.0], "content": [-3.0, 3.0]}, {2: {"format": 0.5, "content": 1.5}}),
        make_run("grpo", 0, {"format": [0.5, 1.0], "content": [0.0, 0.0]}, {2: {"format": 1.0, "content": 3.0}}),
    ]
    plan = Plan(primary={"format": (0, 1), "content": (-3, 3)})
    results = summarise([read_run(run) for run in runs], (), "a study", "make study", plan)
    assert results.rewards == ("primary", "format", "content")
    assert [line.scores["final"]["primary"].by_seed[0] for line in results.lines] == [0.625, 1.0]
    assert results.lines[0].scores["auc"]["primary"].by_seed[0] == 0.5
    assert results.best == ("grpo",)


def test_the_primary_metric_is_compared_where_each_of_its_rewards_can_be(make_run):
    def judged(line, fingerprint):
        run = make_run(line, 0, {"good": [0.5], "judge": [0.5]}, {1: {"good": 0.5, "judge": 0.5, "judge/scored": 0.75}})
        path = run.folder / "evaluation.json"
        entries = json.loads(path.read_text())
        entries[0]["scored"] = {"judge": fingerprint}
        path.write_text(json.dumps(entries))
        return read_run(run)

    plan = Plan(primary={"good": (0, 1), "judge": (0, 1)})
    for fingerprints, pairs in ((("x", "x"), 1), (("x", "y"), 0)):
        runs = [judged(line, mark) for line, mark in zip("ab", fingerprints, strict=True)]
        results = summarise(runs, (), "a study", "make study", plan)
        assert said(results, "primary").difference.n == pairs
        assert results.lines[0].coverage["final"]["primary"] == 0.75


PLACES = [
    Place(f"{arm}, weight={weight}", arm, {"weight": weight}) for arm in ("gdpo", "grpo - tuned") for weight in (1, 3)
]


def test_an_arm_stands_for_its_lines():
    assert read_contrasts(["gdpo - grpo - tuned: good"], PLACES, ["good"]) == (
        Contrast("grpo - tuned, weight=1", "gdpo, weight=1", "good"),
        Contrast("grpo - tuned, weight=3", "gdpo, weight=3", "good"),
    )
    across = "grpo - tuned, weight=3 - gdpo, weight=1: good"
    assert read_contrasts([across], PLACES, ["good"]) == (Contrast("gdpo, weight=1", "grpo - tuned, weight=3", "good"),)
    assert str(read_contrasts([across], PLACES, ["good"])[0]) == across


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["gdpo: good"], "--declare takes 'ARM - ARM: REWARD', such as 'gdpo - grpo: correctness'; got 'gdpo: good'"),
        (["gdpo - grpo"], "--declare takes 'ARM - ARM: REWARD'"),
        (["gdpo - gdpo: good"], "no two different lines of the same settings have these names"),
        (["gdop - grpo - tuned: good"], "no arm 'gdop'; did you mean 'gdpo'?; there are: gdpo; gdpo, weight=1;"),
        (["gdpo - grpo - tuned: primary"], "no reward 'primary'; there are: good; --primary adds the metric 'primary'"),
        (["gdpo - grpo - tuned: goood"], "no reward 'goood'; did you mean 'good'?; there are: good"),
        (
            ["gdpo - grpo - tuned: good", "grpo - tuned, weight=1 - gdpo, weight=1: good"],
            "--declare: 'grpo - tuned, weight=1 - gdpo, weight=1: good' is declared twice",
        ),
    ],
)
def test_contrasts_that_cannot_be_read_are_refused(texts, says):
    with pytest.raises(ConfigError) as refused:
        read_contrasts(texts, PLACES, ["good"])
    assert says in str(refused.value)


@pytest.mark.parametrize("text", ["format", "format:0", "format:1:0", "format:0:1,", ":0:1", "format:0:inf", "f:a:b"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--primary takes REWARD:LOWEST:HIGHEST"):
        read_primary(text)


def test_a_primary_metric_of_other_rewards_is_refused():
    with pytest.raises(ConfigError, match="--primary: format is given twice"):
        read_primary("format:0:1,format:0:2")
    with pytest.raises(ConfigError, match="no reward 'fromat'; did you mean 'format'"):
        check_primary({"fromat": (0, 1)}, ["format"])
    with pytest.raises(ConfigError, match="a reward is named 'primary', as the metric would be; rename the reward"):
        check_primary({"primary": (0, 1)}, ["primary"])
    check_primary({}, ["primary"])
