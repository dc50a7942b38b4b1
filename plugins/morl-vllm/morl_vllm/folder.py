"""What an engine needs to know of a model before it gets the weights."""

from __future__ import annotations

import copy
from typing import Any

from transformers import AutoModelForCausalLM


def save_without_weights(config: Any, tokenizer: Any, folder: str) -> None:
    """Writes config and tokenizer of a policy, as they are in memory, for an engine to start from.

    So nothing is read a second time, and a policy that was passed as an object needs no folder of its own.
    """
    config = copy.deepcopy(config)
    if not config.architectures:
        classes: Any = AutoModelForCausalLM._model_mapping[type(config)]
        config.architectures = [classes.__name__]
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
