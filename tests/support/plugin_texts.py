"""Texts of plugins, and hooks of a plugin that is an object."""

from __future__ import annotations

from morl.hookspecs import hookimpl


def reward_plugin(name: str) -> str:
    return f"""
    @hookimpl
    def morl_register_reward_providers():
        return {{"{name}": lambda: None}}
    """


def info(registry, name):
    (found,) = (plugin for plugin in registry.plugins if plugin.name == name)
    return found


def hooks(**functions):
    """A plugin with these hooks."""
    return type("Mine", (), {name: hookimpl(function) for name, function in functions.items()})()
