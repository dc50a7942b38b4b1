"""The names of metrics."""

from __future__ import annotations

from typing import TypeAlias

Metrics: TypeAlias = dict[str, float]
"""Name -> value."""
