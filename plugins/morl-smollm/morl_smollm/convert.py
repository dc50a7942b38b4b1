"""From a GGUF file to a folder in `save_pretrained` form."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from transformers.utils import logging


def convert(file: Path, folder: Path) -> None:
    """Writes a Llama with float32 weights, dequantised, its tokenizer and its chat template.

    Args:
        file: a Llama in GGUF form, of any quantisation that transformers reads.
        folder: exists, and is filled.
    """
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    finally:
        if bars:
            logging.enable_progress_bar()
    config = copy.deepcopy(loaded.config)
    del config.quantization_config  # the weights are plain floats now; with it transformers refuses to save them
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(config)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = loaded.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
