"""What the model's own generation settings say, and a run does not do."""

from __future__ import annotations

import logging
from typing import Any

from morl.types import Sampling

_log = logging.getLogger(__name__)

_OF_SAMPLING: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "stop_strings": (),
}
"""Settings with a counterpart under `sampling` -> what changes nothing."""

_OTHERS: dict[str, Any] = {
    "suppress_tokens": (),
    "begin_suppress_tokens": (),
    "bad_words_ids": (),
    "force_words_ids": (),
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "sequence_bias": None,
    "min_length": 0,
    "min_new_tokens": 0,
    "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "exponential_decay_length_penalty": None,
    "typical_p": 1.0,
    "top_h": None,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "guidance_scale": 1.0,
    "num_beams": 1,
    "penalty_alpha": None,
    "watermarking_config": None,
}
"""Settings that change what `transformers` generates, and that morl does not have -> what changes nothing."""


def unused_settings(generation_config: Any, sampling: Sampling) -> dict[str, Any]:
    """Settings of a model's generation config that would draw other completions than the run's `sampling`.

    Its ends of sequence are used, see `morl.rollout.ends.end_tokens`.

    >>> from transformers import GenerationConfig
    >>> config = GenerationConfig(do_sample=True, temperature=0.7, top_p=0.8, suppress_tokens=[3], eos_token_id=[1, 2])
    >>> unused_settings(config, Sampling(temperature=0.7))
    {'top_p': 0.8, 'suppress_tokens': [3]}
    """
    found: dict[str, Any] = {}
    for name, neutral in {**_OF_SAMPLING, **_OTHERS}.items():
        value = getattr(generation_config, name, None)
        if value is None or value == neutral or (isinstance(value, (list, tuple, dict)) and not value):
            continue
        ours = sampling.stop if name == "stop_strings" else getattr(sampling, name, neutral)
        if (tuple(value) if isinstance(value, list) and name == "stop_strings" else value) != ours:
            found[name] = value
    return found


def report_unused(generation_config: Any, sampling: Sampling) -> None:
    """Names them in one warning."""
    unused = unused_settings(generation_config, sampling)
    if not unused:
        return
    settings = ", ".join(f"{name}={value!r:.60}" for name, value in unused.items())
    here = [f"sampling.{'stop' if name == 'stop_strings' else name}" for name in unused if name in _OF_SAMPLING]
    advice = f"; what you want of it, set here: {', '.join(here)}" if here else ""
    _log.warning("the model's generation_config is used for its ends alone, not for %s%s", settings, advice)
