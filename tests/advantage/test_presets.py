"""The presets give the advantages of peers, in float64 to 1e-7."""

from __future__ import annotations

import importlib.util
import inspect
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from morl.advantage import GDPO, GRPO, Conditioned, GRPONoStd
from morl.errors import ConfigError, RewardError
from morl.types import RewardMatrix

_specification = importlib.util.spec_from_file_location("peers", Path(__file__).with_name("peers.py"))
peers = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(peers)

MISSES = {"trl", "ms-swift"}
"""Peers with a rule for missing rewards."""
SCALES_BATCH = {"trl", "ms-swift"}


def cases(missing: bool, number: int = 40):
    """Rewards (P, G, K) and weights (K,): continuous, few values, tiny ranges, constants, groups of unlike scale."""
    for seed in range(number):
        random = np.random.default_rng(seed)
        P, G, K = (int(n) for n in random.integers([1, 2, 1], [6, 7, 4]))
        rewards = random.normal(size=(P, G, K)) * 10.0 ** random.integers(-5, 3, size=K)
        rewards[:, :, 0] = random.integers(0, 2, size=(P, G))
        if P > 1 and seed % 3 == 0:
            rewards[0] = rewards[0, :1]
        weights = random.choice([1.0, 0.5, -1.0, 2.0, 0.0] if seed % 2 else [1.0, 0.25], size=K)
        if missing:
            rewards[random.random((P, G, K)) < 0.2] = np.nan
            if seed % 4 == 0:
                rewards[-1, 0] = np.nan
        yield rewards, weights


def asked(estimator, rewards, weights):
    names = tuple(f"r{k}" for k in range(len(weights)))
    matrix = RewardMatrix.from_groups(torch.from_numpy(rewards), names, dict(zip(names, weights, strict=True)))
    return estimator(matrix).values_B.view(rewards.shape[:2]).numpy()


def agrees(estimator, peer, missing):
    """Where a peer's answer is rounding noise of a constant group, morl's is exactly 0."""
    for rewards, weights in cases(missing):
        np.testing.assert_allclose(asked(estimator, rewards, weights), peer(rewards, weights), rtol=0, atol=1e-7)


@pytest.mark.parametrize("preset", peers.GRPO)
@pytest.mark.parametrize("missing", [False, True])
def test_grpo_with_a_preset_is_the_peers(preset, missing):
    missing = missing and preset in MISSES
    agrees(GRPO(preset=preset), peers.GRPO[preset], missing)
    agrees(GRPONoStd(preset=preset), lambda r, w: peers.GRPO[preset](r, w, "none"), missing)
    if preset in SCALES_BATCH:
        agrees(GRPO(preset=preset, scale="batch"), lambda r, w: peers.GRPO[preset](r, w, "batch"), missing)


@pytest.mark.parametrize("preset", peers.GDPO)
@pytest.mark.parametrize("missing", [False, True])
def test_gdpo_with_a_preset_is_the_peers(preset, missing):
    agrees(GDPO(preset=preset), peers.GDPO[preset], missing and preset in MISSES)


def test_without_the_preset_the_numbers_are_others():
    """Else the tests above would pass for any knobs: each pair of presets and the default differ somewhere."""
    rewards, weights = np.array([[[0.0, 0.0], [1.0, 1e-4], [1.0, 3e-4]], [[0.0, 0.0], [0.0, 2e-4], [1.0, 0.0]]]), [1, 1]
    answers = [asked(GDPO(preset=preset), rewards, weights) for preset in (None, *peers.GDPO)]
    gaps = [abs(one - other).max() for i, one in enumerate(answers) for other in answers[:i]]
    assert min(gaps) > 1e-10
    assert max(gaps) > 0.1


def trls_own(rewards_BK, weights_K, G, **settings):
    """The lines of the installed TRL that compute the advantages, cut out of its method and run."""
    trainer = pytest.importorskip("trl.trainer.grpo_trainer")
    source = textwrap.dedent(inspect.getsource(trainer.GRPOTrainer._generate_and_score_completions))
    start, end = source.index("    unscorable_mask ="), source.index("    # Slice to keep only the local part")
    place = {
        "self": SimpleNamespace(reward_weights=weights_K, reward_funcs=[None] * len(weights_K), **settings),
        "rewards_per_func": rewards_BK.clone(),
        "num_generations": G,
        "device": rewards_BK.device,
    }
    exec(textwrap.dedent(source[start:end]), {**vars(trainer)}, place)
    return place["advantages"].view(-1, G).numpy()


TRLS_NOISE = 1e-5
"""Where all rewards of a group are equal TRL's answer is rounding, up to 100 * 2^-53, divided by 1e-4 twice: 1e-6.

7e-8 are seen with PyTorch's plain kernels.  What another preset answers differs by more than 1e-2; see below.
"""


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    ("estimator", "aggregation", "scale"),
    [
        (GDPO(preset="trl"), "normalize_then_sum", "group"),
        (GRPO(preset="trl"), "sum_then_normalize", "group"),
        (GRPO(preset="trl", scale="batch"), "sum_then_normalize", "batch"),
        (GRPONoStd(preset="trl"), "sum_then_normalize", "none"),
    ],
)
def test_the_preset_trl_is_what_the_installed_trl_computes(estimator, aggregation, scale, missing):
    for rewards, weights in cases(missing):
        theirs = trls_own(
            torch.from_numpy(rewards).flatten(0, 1),
            torch.tensor(weights),
            rewards.shape[1],
            multi_objective_aggregation=aggregation,
            scale_rewards=scale,
        )
        np.testing.assert_allclose(asked(estimator, rewards, weights), theirs, rtol=0, atol=TRLS_NOISE)


@pytest.mark.parametrize(
    ("preset", "plain"), [(GDPO(preset="trl"), GDPO()), (GRPO(preset="trl"), GRPO())], ids=["gdpo", "grpo"]
)
def test_a_preset_is_told_apart_from_none(preset, plain):
    apart = (asked(preset, *case) - asked(plain, *case) for case in cases(missing=False))
    assert max(np.abs(difference).max() for difference in apart) > 1000 * TRLS_NOISE


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: GDPO(preset="trl", eps=1e-6), "preset 'trl' of GDPO fixes eps at 0.0001; leave out eps=1e-06"),
        (lambda: GDPO(preset="verl", group_eps=0), "fixes group_eps at 1e-06"),
        (lambda: GDPO(preset="verl", batch_divisor="std"), "fixes batch_divisor at sqrt-var"),
        (lambda: GDPO(preset="ms-swift", missing="skip"), "fixes missing at zero-after"),
        (lambda: GDPO(preset="trl", ddof=0), "fixes ddof at 1"),
        (lambda: GDPO(preset="trl", batch_norm=False), "fixes batch_norm at True"),
        (lambda: GRPO(preset="verl", scale="batch"), "preset 'verl' of GRPO fixes scale at group"),
        (lambda: GRPO(preset="nemo-rl", eps=0.0), "fixes eps at 1e-06"),
        (lambda: GRPONoStd(preset="trl", missing="zero"), "preset 'trl' of GRPONoStd fixes missing at present"),
        (lambda: GDPO(preset="tlr"), "unknown preset 'tlr' of GDPO; did you mean 'trl'"),
        (lambda: GDPO(preset=3), "unknown preset 3 of GDPO"),
        (lambda: GDPO(missing="none"), "missing of GDPO must be one of skip, present, zero, zero-after, refuse"),
        (lambda: GRPO(scale="none"), "scale of GRPO must be one of group, batch"),
        (lambda: GDPO(group_eps=-1), "group_eps of GDPO must be a finite number >= 0"),
        (lambda: GRPO(missing="zero-after"), "a rule of GDPO"),
        (lambda: GDPO(batch_norm=False, batch_divisor="sqrt-var"), "batch_divisor of GDPO belongs to batch norm"),
        (lambda: GDPO(batch_norm=False, missing="zero-after"), "missing of GDPO belongs to batch norm"),
    ],
)
def test_what_contradicts_is_refused(make, says):
    with pytest.raises(ConfigError) as error:
        make()
    assert says in str(error.value)


@pytest.mark.parametrize("estimator", [GDPO(preset="verl"), GRPO(preset="nemo-rl"), GRPONoStd(missing="refuse")])
def test_a_peer_without_a_rule_for_missing_rewards_gets_none(estimator):
    with pytest.raises(RewardError, match="reward 'r1' of completion 1 is missing"):
        asked(estimator, np.array([[[0.0, 1.0], [1.0, np.nan]]]), [1, 1])


def test_estimators_say_how_much_they_look_at():
    scopes = [
        (GDPO(), "batch"),
        (GDPO(batch_norm=False), "group"),
        (GRPO(), "group"),
        (GRPO(scale="batch"), "batch"),
        (GRPONoStd(), "group"),
        (GRPO(weighting=lambda rewards: rewards.weights_K), "batch"),
        (Conditioned(GDPO(batch_norm=False), {"a": {"on": "b"}}), "group"),
        (Conditioned(GDPO(), {"a": {"on": "b"}}), "batch"),
    ]
    for estimator, scope in scopes:
        assert estimator.scope == scope, estimator


@pytest.mark.parametrize("estimator", [GDPO(batch_norm=False), GRPO(), GRPONoStd()])
def test_an_estimator_of_scope_group_answers_for_each_group_alone_as_for_the_batch(estimator):
    rewards = np.random.default_rng(0).normal(size=(3, 4, 2))
    alone = np.concatenate([asked(estimator, group[None], [1, 2]) for group in rewards])
    np.testing.assert_allclose(asked(estimator, rewards, [1, 2]), alone, rtol=0, atol=1e-12)
