"""What prompts hold, as a digest, so that other data is noticed wherever the rows came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from morl.types import Prompt


def digest_of(prompts: Sequence[Prompt]) -> str:
    """Number of rows, and the SHA-256 of their contents and columns in their order.

    Of values that JSON does not have, numbers and text count; of anything else, such as an image, its type alone.
    """
    digest = hashlib.sha256()
    for prompt in prompts:
        row = [prompt.content, sorted(prompt.columns.items())]
        digest.update(json.dumps(row, default=_plain).encode() + b"\n")
    return f"{len(prompts)} rows, sha256 {digest.hexdigest()}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    if isinstance(value, bytes | bytearray):
        return value.hex()
    for method in ("tolist", "isoformat"):  # arrays and tensors; dates
        if hasattr(value, method):
            return getattr(value, method)()
    return (
        str(value) if hasattr(value, "as_integer_ratio") else f"<{type(value).__module__}.{type(value).__qualname__}>"
    )
