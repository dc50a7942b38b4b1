"""The arithmetic that is told of a step, against numpy, for every estimator that there is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from morl.integrations import estimator
from morl.report.arithmetic import Arithmetic
from morl.report.explain import how, parts
from morl.report.view import read_view
from morl.types import RewardMatrix

from .conftest import rows

NAMES = ("correct", "brief", "style")
WEIGHTS = {"correct": 1.0, "brief": 0.5, "style": 2.0}
CONFIG = {"rewards": {name: {"weight": weight} for name, weight in WEIGHTS.items()}}


def step_of(make_folder, chosen, missing=0.1, keep=24, **config):
    """A view and its samples: 6 groups of 4, of rewards that are of unlike scale, with the estimator's answer."""
    draw = np.random.default_rng(5)
    values = torch.tensor(draw.integers(0, 3, (24, 3)) * np.array([1.0, 0.1, 7.0]))
    values[torch.tensor(draw.random((24, 3))) < missing] = math.nan
    values[4:8, 0] = 1.0  # one that does not vary in a group
    bounds = {"correct": (0.0, 2.0), "brief": (0.0, 0.2), "style": (0.0, 14.0)}
    matrix = RewardMatrix(values, torch.arange(24) // 4, NAMES, dict(WEIGHTS), bounds=bounds, step=3)
    answer = chosen(matrix)
    weighting = getattr(chosen, "weighting", None)
    used = (matrix.weights_K if weighting is None else weighting(matrix)).expand(24, 3)
    found = rows([dict(zip(NAMES, own, strict=True)) for own in values.nan_to_num(nan=-1).tolist()], 4)
    for b, row in enumerate(found):
        row["rewards"] = {name: None if row["rewards"][name] == -1 else row["rewards"][name] for name in NAMES}
        row["advantage"] = float(answer.values_B[b])
        row["contributions"] = dict(zip(NAMES, answer.contributions_BK[b].tolist(), strict=True))
        row["weights"] = dict(zip(NAMES, used[b].tolist(), strict=True))
    view = read_view(make_folder(None, found[:keep], CONFIG | config))
    return view, view.samples()


FORMS = {
    "gdpo": ("normalised", "the standard deviation of the weighted sums of all completions of the step"),
    "grpo": ("centred", "the standard deviation of the weighted sums of the group"),
    "grpo-no-std": ("centred", ""),
    "mo-grpo": ("normalised", ""),
    "rloo": ("centred", "the same for all completions of the step"),
    "maxrl": ("centred", "the same for the group"),
    "pareto-rank": ("", ""),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_number_on_the_way_is_that_of_numpy(make_folder, name):
    form, because = FORMS[name]
    missing = 0.0 if name in ("rloo", "maxrl", "pareto-rank") else 0.1
    view, step = step_of(make_folder, estimator(name), missing, estimator={"name": name})
    arithmetic = Arithmetic.of(view, step)
    assert arithmetic.form == form
    assert arithmetic.because.startswith(because)
    assert bool(arithmetic.because) == bool(because)
    sums = np.zeros(24)
    for sample in step.samples:
        for part in parts(arithmetic, sample):
            group = [one.rewards[part.reward] for one in step.samples[sample.group * 4 :][:4]]
            scores = np.array([score for score in group if score is not None])
            assert part.scored == len(scores)
            assert part.weight == WEIGHTS[part.reward]
            if part.score is None or len(scores) < 2:
                assert part.contribution == 0
                continue
            mean, std = scores.mean(), scores.std(ddof=1)
            assert (part.mean, part.std) == (pytest.approx(mean), pytest.approx(std))
            over = std if form == "normalised" else 1.0
            expected = part.weight * (part.score - mean) / over if std > 0 else 0.0
            if form:
                assert part.weighted == pytest.approx(expected, abs=1e-12)
                divisor = arithmetic.divisor_B[sample.number]
                assert part.contribution == pytest.approx(part.weighted / divisor, abs=1e-9)
                sums[sample.number] += part.weighted
    if name == "gdpo":
        assert arithmetic.divisor_B == pytest.approx(np.sqrt((sums**2).sum() / 23) + 1e-6, rel=1e-9)
    if name == "grpo":
        expected = np.sqrt((sums.reshape(6, 4) ** 2).sum(1) / 3).repeat(4)
        finite = np.isfinite(arithmetic.divisor_B)
        assert arithmetic.divisor_B[finite] == pytest.approx(expected[finite] + 1e-6, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gdpo", {"ddof": 0}),
        ("gdpo", {"batch_norm": False}),
        ("gdpo", {"eps": 0.3, "batch_divisor": "sqrt-var"}),
        ("gdpo", {"group_eps": 0.05}),
        ("gdpo", {"preset": "verl"}),
        ("grpo", {"ddof": 0, "eps": 0.2}),
        ("grpo", {"preset": "ms-swift"}),
    ],
)
def test_options_are_followed_and_named(make_folder, name, options):
    chosen = estimator(name, **options)
    view, step = step_of(make_folder, chosen, missing=0.0, estimator={"name": name, **options})
    arithmetic = Arithmetic.of(view, step)
    assert arithmetic.form == ("normalised" if name == "gdpo" else "centred")
    assert ("standard deviation" in arithmetic.because) == (options != {"batch_norm": False})
    if "eps" in options:
        assert f"eps {options['eps']:g}" in arithmetic.because


@pytest.mark.parametrize("weighting", ["dvao", "saw", "dara", "sa-mrpo"])
def test_weights_that_adapt_are_those_that_were_logged(make_folder, weighting):
    chosen = estimator("gdpo", weighting=weighting)
    view, step = step_of(make_folder, chosen, estimator={"name": "gdpo"})
    arithmetic = Arithmetic.of(view, step)
    assert arithmetic.form == "normalised"
    for sample in step.samples:
        for part in parts(arithmetic, sample):
            assert part.weight == sample.weights[part.reward]


@pytest.mark.parametrize("name", ["gdpo", "grpo-no-std"])
def test_weights_that_tell_completions_apart_take_the_mean_of_the_sums_along(make_folder, name):
    def uneven(matrix):
        return matrix.weights_K * (1 + torch.arange(24.0, dtype=torch.float64)[:, None] % 3)

    view, step = step_of(make_folder, estimator(name, weighting=uneven), estimator={"name": name})
    arithmetic = Arithmetic.of(view, step)
    assert arithmetic.shifted
    assert "less the mean of the sums" in "\n".join(how(view, arithmetic, step.samples[0]))
    said = sum(part.weighted for part in parts(arithmetic, step.samples[2])) / arithmetic.divisor_B[2]
    assert said == pytest.approx(step.samples[2].advantage, abs=1e-9)


def test_a_part_of_the_batch_has_the_divisor_of_the_whole_and_no_claim_about_it(make_folder):
    view, step = step_of(make_folder, estimator("gdpo"), keep=8, estimator={"name": "gdpo"})
    arithmetic = Arithmetic.of(view, step)
    assert arithmetic.form == "normalised"
    assert arithmetic.because == "the same for all completions of the step"


def test_contributions_of_another_kind_are_left_to_the_estimator(make_folder):
    view, step = step_of(make_folder, estimator("pareto-rank"), missing=0.0, estimator={"name": "pareto-rank"})
    said = "\n".join(how(view, Arithmetic.of(view, step), step.samples[0]))
    assert "The contributions are those that pareto-rank gave" in said
    assert "weighted" not in said.replace("weighted scores", "")
