"""What held-out prompts take from the training prompts, so that both are put to the policy in the same form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from morl.config.sections import Tree, node_at

_TEMPLATE = ("chat_template", "chat_template_kwargs", "chat_template_kwargs_column", "tools_column", "special_tokens")
"""Fields of the section."""

_TOGETHER = (("prompt", "template"), ("system", "chat"))
"""Options of sources of which two are about one thing, so that one that is given stands for both."""


def inherit_form(tree: Tree, training: Callable[..., Any] | None, held_out: Callable[..., Any] | None) -> Tree:
    """The config with the options about the form of a prompt that `evaluation.prompts` takes from `prompts`.

    What is given under `evaluation.prompts` counts, `null` included.

    Args:
        tree: as read from YAML.
        training: factory of the source of the training prompts; None where they are passed as objects.
        held_out: that of the held-out prompts.

    >>> tree = {"prompts": {"chat": True, "path": "a"}, "evaluation": {"prompts": {"path": "b"}}}
    >>> def source(path: str, chat: bool = False, system: str | None = None): ...
    >>> inherit_form(tree, source, source)["evaluation"]["prompts"]
    {'path': 'b', 'chat': True}
    """
    above, own = node_at(tree, "prompts"), node_at(tree, "evaluation.prompts")
    if tree.get("evaluation") is None or not isinstance(above, Mapping) or not isinstance(own, Mapping):
        return tree
    taken = {key: above[key] for key in _TEMPLATE if key in above and key not in own}
    both = _form_options(training) & _form_options(held_out)
    for option in sorted(both & {*above}):
        if not any(key in own for key in next((pair for pair in _TOGETHER if option in pair), (option,))):
            taken[option] = above[option]
    if not taken:
        return tree
    return {**tree, "evaluation": {**tree["evaluation"], "prompts": {**own, **taken}}}


def _form_options(source: Callable[..., Any] | None) -> set[str]:
    """Options of a source that are about the form of a prompt: those that it declares, or the usual ones."""
    if source is None:
        return set()
    declared = getattr(source, "form_options", ("system", "chat"))
    return {*declared} & {*inspect.signature(source).parameters}
