"""Plugins: finding and checking them, and what `morl plugins` shows of them."""

from morl.plugins.registry import (
    CONDITIONED,
    ENTRY_POINT_GROUP,
    DuplicateNameError,
    PluginInfo,
    Registered,
    Registry,
    disabled,
)

__all__ = ["CONDITIONED", "ENTRY_POINT_GROUP", "DuplicateNameError", "PluginInfo", "Registered", "Registry", "disabled"]
