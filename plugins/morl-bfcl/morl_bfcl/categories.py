"""The categories of BFCL that are supported, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable

from morl.errors import ConfigError, suggest

SINGLE_TURN = (
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
CATEGORIES = (*SINGLE_TURN, *MULTI_TURN)
GROUPS = {
    "python": SINGLE_TURN,
    "live": tuple(name for name in SINGLE_TURN if name.startswith("live_")),
    "multi_turn": MULTI_TURN,
}
"""Names that stand for several categories."""

_REFUSED = {
    "simple_java": "replies in Java are read with tree_sitter, which morl-bfcl does not use",
    "simple_javascript": "replies in JavaScript are read with tree_sitter, which morl-bfcl does not use",
    "memory": "its tools write files, and its tasks build on each other",
    "web_search": "its tools need the network",
    "format_sensitivity": "it repeats tasks of other categories, and does not count in BFCL's score",
}


def expand(names: str | Iterable[str]) -> tuple[str, ...]:
    """The categories that names and groups stand for, in the order given.

    Raises:
        ConfigError: a name that is unknown or not supported, a category twice, none at all.

    >>> expand("live")[:2]
    ('live_simple', 'live_multiple')
    """
    given = [names] if isinstance(names, str) else list(names)
    found = [category for name in given for category in (GROUPS.get(name) or (_checked(name),))]
    if not found or len(set(found)) != len(found):
        raise ConfigError(f"category must name at least one category, and each once; got {', '.join(given) or 'none'}")
    return tuple(found)


def _checked(name: str) -> str:
    for start, reason in _REFUSED.items():
        if name.startswith(start):
            raise ConfigError(f"the category {name!r} of BFCL is not supported: {reason}")
    known = (*CATEGORIES, *GROUPS)
    if name not in known:
        raise ConfigError(f"BFCL has no category {name!r}{suggest(name, known)}; choose from {', '.join(known)}")
    return name
