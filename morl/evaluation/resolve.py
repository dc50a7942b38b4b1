"""The config of an evaluation, and what can be known to be wrong with it before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from morl.config.load import parse
from morl.config.schema import Config
from morl.errors import ConfigError
from morl.evaluation.arguments import Measures
from morl.evaluation.model import find_model
from morl.plugins import Registry


def resolve(
    tree: Mapping[str, Any],
    model: str,
    measures: Measures,
    registry: Registry,
    loading: Mapping[str, Any] = MappingProxyType({}),
) -> Config:
    """The config of a run with `model` in place of its policy.

    Of the policy's settings `dtype` and `attention` stay; what only matters to training, such as adapters, is left out,
    and so is what was said of another model, such as its revision, or that its code may run.  `loading` says that of
    this one.

    Raises:
        ConfigError: as `morl.config.load.parse`; nothing is held out; a k of pass@k above the number of samples.
        DataError: no such model.
    """
    if not tree.get("evaluation"):
        raise ConfigError(
            "the config has no section `evaluation`, so there are no held-out prompts; name them, for example"
            " --evaluation.prompts.name=jsonl --evaluation.prompts.path=FILE"
        )
    kept = {key: value for key, value in (tree.get("policy") or {}).items() if key in ("dtype", "attention")}
    config = parse({**tree, "policy": {**kept, **loading, "name": "pretrained", "path": find_model(model)}}, registry)
    assert config.evaluation is not None
    largest, samples = max(measures.k or (1,)), config.evaluation.samples
    if largest > samples:
        raise ConfigError(
            f"pass@{largest} needs {largest} completions of each prompt, and evaluation.samples is {samples};"
            f" set --evaluation.samples={largest}, or a smaller --k"
        )
    return config
