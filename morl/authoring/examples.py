"""What a part is tried with: `morl_register_examples` of its plugin, over what serves most parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import asdict, evolve, field, fields_dict, frozen

from morl.errors import PluginError, suggest
from morl.hookspecs import EXAMPLES_HOOK, REGISTERING_HOOKS
from morl.plugins import PluginInfo, Registered

TEXTS = ("", "yes", "The answer is 4.", "no no no", "<answer> 4 </answer>\n#### 4")


@frozen
class Example:
    """See `morl.hookspecs.morl_register_examples`, which has these keys."""

    options: Mapping[str, Any] = field(factory=dict)
    columns: Mapping[str, Any] = field(factory=dict)
    texts: tuple[str, ...] = TEXTS
    replies: tuple[str, ...] = ("4",)
    names: tuple[str, ...] | None = None
    claims: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    rounding: float = 1e-9
    nonnegative: bool = False
    untried: str = ""


def examples_of(plugin: PluginInfo) -> dict[tuple[str, str], Example]:
    """By kind and name.

    Raises:
        PluginError: the hook raises, or answers with something else than the contract says.
    """
    if plugin.examples is None:
        return {}
    try:
        answer = plugin.examples()
    except Exception as error:
        raise PluginError(f"{EXAMPLES_HOOK} raised {type(error).__name__}: {error}") from error
    found: dict[tuple[str, str], Example] = {}
    for kind, by_name in _mapping(answer, EXAMPLES_HOOK).items():
        if kind not in REGISTERING_HOOKS:
            known = ", ".join(REGISTERING_HOOKS)
            raise PluginError(
                f"{EXAMPLES_HOOK}: unknown kind {kind!r}{suggest(str(kind), REGISTERING_HOOKS)}; kinds: {known}"
            )
        for name, given in _mapping(by_name, f"{EXAMPLES_HOOK}: {kind}").items():
            offered = plugin.offers.get(kind, [])
            if name not in offered:
                raise PluginError(f"{EXAMPLES_HOOK}: {kind} {name!r} is not offered{suggest(str(name), offered)}")
            found[kind, name] = _example(
                _mapping(given, f"{EXAMPLES_HOOK}: {name}"), f"{EXAMPLES_HOOK}: {kind} {name!r}"
            )
    return found


def example_of(part: Registered, examples: Mapping[tuple[str, str], Example]) -> Example:
    """Of one part; an empty text is among those that are scored."""
    example = examples.get((part.kind, part.name), Example())
    return example if "" in example.texts else evolve(example, texts=("", *example.texts))


def _example(given: Mapping[str, Any], where: str) -> Example:
    known = fields_dict(Example)
    for key in given:
        if key not in known:
            raise PluginError(f"{where}: unknown key {key!r}{suggest(str(key), known)}; keys: {', '.join(known)}")
    plain = asdict(Example())
    for key, value in given.items():
        sequence = key in ("texts", "replies", "names", "claims", "without")
        if sequence and (isinstance(value, str) or not isinstance(value, tuple | list)):
            raise PluginError(f"{where}: {key} must be a list of texts; got {value!r:.80}")
        if sequence and (not all(isinstance(each, str) for each in value) or (key == "replies" and not value)):
            raise PluginError(f"{where}: {key} must be a list of texts; got {value!r:.80}")
        if key == "untried" and (not isinstance(value, str) or not value.strip()):
            raise PluginError(f"{where}: untried must say why; got {value!r:.80}")
        if key in ("options", "columns"):
            _mapping(value, f"{where}: {key}")
        plain[key] = tuple(value) if sequence else value
    return Example(**plain)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PluginError(f"{where} must be a mapping; got {type(value).__name__}")
    return value
