"""The advantages of peers in numpy, float64, written from their released code; G equal, NaN = missing."""

from __future__ import annotations

import warnings

import numpy as np


def _std(values, axis=None, keepdims=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(np.nanstd(values, axis=axis, ddof=1, keepdims=keepdims))


def _mean(values, axis=None, keepdims=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=axis, keepdims=keepdims)


def trl_grpo(r, w, scale="group"):
    """TRL 1.16.0, `sum_then_normalize`; (P, G, K), (K,) to (P, G)."""
    sums = np.nansum(r * w, 2)
    sums[np.isnan(r).all(2)] = np.nan
    advantages = sums - _mean(sums, 1, True)
    if scale != "none":
        advantages = advantages / ((_std(sums, 1, True) if scale == "group" else _std(sums)) + 1e-4)
    return np.nan_to_num(advantages)


def trl_gdpo(r, w):
    """TRL 1.16.0, `normalize_then_sum`."""
    z = (r - _mean(r, 1, True)) / (_std(r, 1, True) + 1e-4)
    sums = np.nansum(z * w, 2)
    sums[np.isnan(r).all(2)] = np.nan
    return np.nan_to_num((sums - _mean(sums)) / (_std(sums) + 1e-4))


def verl_grpo(r, w, scale="group"):
    """verl 0.9.1, `compute_grpo_outcome_advantage` of the summed score."""
    sums = (r * w).sum(2)
    centred = sums - sums.mean(1, keepdims=True)
    return centred / (sums.std(1, ddof=1, keepdims=True) + 1e-6) if scale == "group" else centred


def verl_gdpo(r, w):
    """verl 0.9.1, `compute_gdpo_outcome_advantage`, responses of one token: `masked_whiten` is over tokens."""
    z = (r - r.mean(1, keepdims=True)) / (r.std(1, ddof=1, keepdims=True) + 1e-6)
    sums = (z * w).sum(2)
    return (sums - sums.mean()) / np.sqrt(sums.var(ddof=1) + 1e-8)


def nemo_rl_grpo(r, w, scale="group"):
    """NeMo-RL 7ea279ab, `GRPOAdvantageEstimator`, `use_leave_one_out_baseline: false`."""
    sums = (r * w).sum(2)
    centred, std = sums - sums.mean(1, keepdims=True), sums.std(1, ddof=1, keepdims=True)
    return np.where(std > 0, centred / (std + 1e-6), centred) if scale == "group" else centred


def nemo_rl_gdpo(r, w):
    """NeMo-RL 7ea279ab, `GDPOAdvantageEstimator`, `use_leave_one_out_baseline: false`."""
    centred, std = r - r.mean(1, keepdims=True), r.std(1, ddof=1, keepdims=True)
    sums = (np.where(std > 0, centred / (std + 1e-6), centred) * w).sum(2)
    whitened = sums - sums.mean()
    return whitened / sums.std(ddof=1) if sums.std(ddof=1) > 0 else whitened


def ms_swift_grpo(r, w, scale="group"):
    """ms-swift 4.6.0, `compute_advantages`, `advantage_estimator grpo`."""
    sums = np.nansum(r * w, 2)
    centred = sums - sums.mean(1, keepdims=True)
    if scale == "none":
        return centred
    return centred / ((sums.std(1, ddof=1, keepdims=True) if scale == "group" else sums.std(ddof=1)) + 1e-4)


def ms_swift_gdpo(r, w):
    """ms-swift 4.6.0, `scale_rewards gdpo`."""
    z = np.nan_to_num((r - _mean(r, 1, True)) / (_std(r, 1, True) + 1e-8))
    sums = (z * w).sum(2)
    return (sums - sums.mean()) / (sums.std(ddof=1) + 1e-8)


GRPO = {"trl": trl_grpo, "verl": verl_grpo, "nemo-rl": nemo_rl_grpo, "ms-swift": ms_swift_grpo}
GDPO = {"trl": trl_gdpo, "verl": verl_gdpo, "nemo-rl": nemo_rl_gdpo, "ms-swift": ms_swift_gdpo}
