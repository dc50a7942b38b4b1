"""Where made policies are kept: a folder per combination of options and library versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from morl.policy.made import cache_folder
from morl.policy.made import made_once as made_once

_MADE_WITH = ("morl-playground", "tokenizers", "torch", "transformers")


def kept_in(cache: str | None) -> Path:
    """The folder of made policies: `cache`, else `$XDG_CACHE_HOME/morl-playground` or `~/.cache/morl-playground`."""
    return cache_folder("morl-playground", cache)


def fingerprint(made_from: Mapping[str, Any]) -> str:
    """16 digits that change with everything a policy is made from, as JSON, and with the libraries that make it."""
    versions = {name: version(name) for name in _MADE_WITH}
    text = json.dumps({"options": made_from, "versions": versions}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
