"""Is this a model? Answered from file names, before anything is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from morl.errors import DataError

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json")
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tokenizer_config.json")


def check_model(path: str) -> None:
    """Refuse a folder that cannot be a Hugging Face causal LM with its tokenizer.

    Names of hub models pass; whether they exist shows when they are loaded.

    Raises:
        DataError: a missing folder, or one without config.json, weights or tokenizer.
    """
    folder = Path(path)
    if not path or not folder.exists():
        if path.startswith((".", "~", os.sep)) or path.count(os.sep) > 1 or not path:
            raise DataError(
                f"no model at {path!r}: the folder does not exist; give a model folder or a hub name org/name"
            )
        return
    if not folder.is_dir():
        raise DataError(f"no model at {path!r}: it is a file; give the folder that holds config.json and the weights")
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise DataError(
            f"{path!r} holds a LoRA adapter without its base model; merge them first (peft: merge_and_unload)"
            " and give the folder of the merged model"
        )
    missing = {
        "config.json": not (folder / "config.json").exists(),
        "weights (*.safetensors)": not any(any(folder.glob(pattern)) for pattern in _WEIGHTS),
        "a tokenizer (tokenizer.json)": not any((folder / name).exists() for name in _TOKENIZER),
    }
    absent = [what for what, is_missing in missing.items() if is_missing]
    if absent:
        raise DataError(
            f"{path!r} is not a complete model folder; missing: {', '.join(absent)};"
            " write both with model.save_pretrained(folder) and tokenizer.save_pretrained(folder)"
        )
