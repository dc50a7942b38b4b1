"""How completions are drawn; light enough for the config to import."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, fields, frozen, validators

from morl.errors import ConfigError, suggest


def _stop_strings(texts: Sequence[str]) -> tuple[str, ...]:
    """Lone text would be taken apart into its letters."""
    if isinstance(texts, str) or not all(isinstance(text, str) and text for text in texts):
        raise ConfigError(f"sampling.stop must be a list of texts, none of them empty; got {texts!r}")
    return tuple(texts)


def _schema(schema: dict[str, Any] | str | None) -> str | None:
    """As text, so that settings can be compared."""
    return json.dumps(schema, sort_keys=True) if isinstance(schema, Mapping) else schema


CONSTRAINTS = ("regex", "json_schema", "grammar")
"""Settings that name a language which completions are drawn within; there is one of them at most."""


@frozen
class Sampling:
    """How completions are drawn.

    Attributes:
        temperature: divides the logits; 0 is greedy decoding.
        top_p: smallest set of tokens whose probability reaches this; 1 keeps all.
        top_k: number of most probable tokens to sample from; 0 keeps all.
        max_tokens: a completion that reaches this length without ending is truncated.
        stop: texts that end a completion; the text that matched stays in it.  One that is a special token ends it, too.
        stop_token_ids: tokens that end a completion, besides those of the tokenizer and of the model.
        min_p: smallest probability of a token, as a share of that of the most probable one; 0 keeps all.
        repetition_penalty: positive logits of the tokens of prompt and completion are divided by it, negative ones
            multiplied; 1 changes nothing.  As with top-p, log-probabilities are those of the policy without it.
        regex: completions match this regular expression as a whole; tokens that no match begins with are not drawn.
            Needs llguidance.  As with top-p, log-probabilities and ratios are those of the policy without it.
        json_schema: completions are JSON of this schema, a mapping or its text, in the same way.
        grammar: completions follow this grammar, in llguidance's form of Lark, in the same way.
        overrides_column: column of the prompts with settings of this section, a mapping or its JSON, that stand for the
            row in place of these; `max_tokens` can only be smaller.  Log-probabilities and ratios follow each row's
            temperature.
    """

    temperature: float = field(default=1.0, validator=[validators.ge(0.0), validators.lt(math.inf)])
    top_p: float = field(default=1.0, validator=[validators.gt(0.0), validators.le(1.0)])
    top_k: int = field(default=0, validator=validators.ge(0))
    max_tokens: int = field(default=256, validator=validators.ge(1))
    stop: tuple[str, ...] = field(default=(), converter=_stop_strings)
    stop_token_ids: tuple[int, ...] = field(default=(), converter=tuple)
    min_p: float = field(default=0.0, validator=[validators.ge(0.0), validators.le(1.0)])
    repetition_penalty: float = field(default=1.0, validator=[validators.gt(0.0), validators.lt(math.inf)])

    regex: str | None = None
    json_schema: str | dict[str, Any] | None = field(default=None, converter=_schema)
    grammar: str | None = None
    overrides_column: str | None = None

    def __attrs_post_init__(self) -> None:
        given = [f"sampling.{name}" for name in CONSTRAINTS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)}: completions follow one of them; leave the others out")

    @stop_token_ids.validator
    def _are_ids(self, _: object, ids: tuple[object, ...]) -> None:
        if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in ids):
            raise ValueError(f"sampling.stop_token_ids must be ids of tokens, 0 or more; got {list(ids)}")

    def of(self, columns: Mapping[str, Any], keep: Sequence[str] = ()) -> Sampling:
        """How completions of the row with these columns are drawn.

        Args:
            columns: of the row.
            keep: settings that no row changes.

        Raises:
            ConfigError: the row's settings are no mapping, unknown, of another type, or out of their range.
        """
        if self.overrides_column is None:
            return self
        given = _mapping(columns.get(self.overrides_column), self.overrides_column)
        known = {each.name: each for each in fields(Sampling) if each.name != "overrides_column"}
        for name, value in given.items():
            if name not in known:
                raise ConfigError(
                    f"{self.overrides_column} has the setting {name!r}, which sampling does not have"
                    f"{suggest(name, known)}; it has {', '.join(known)}"
                )
            _check_type(name, value, getattr(Sampling(), name), self.overrides_column)
        if given.get("max_tokens", 0) > self.max_tokens:
            raise ConfigError(
                f"{self.overrides_column} has max_tokens={given['max_tokens']}, more than"
                f" sampling.max_tokens={self.max_tokens}, with which the run is planned; raise that"
            )
        try:
            return evolve(
                self, overrides_column=None, **{name: value for name, value in given.items() if name not in keep}
            )
        except ValueError as error:
            raise ConfigError(f"{self.overrides_column}: {error}") from error


def _mapping(value: Any, column: str) -> Mapping[str, Any]:
    """The settings of a row; those that are null, which tables fill in where another row has a key, are not given."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ConfigError(f"{column} is a text, but no JSON: {error}") from error
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(
            f"{column} must be a mapping of settings such as {{temperature: 0.7}}, or its JSON; got"
            f" {type(value).__name__}"
        )
    return {name: each for name, each in (value or {}).items() if each is not None}


def _check_type(name: str, value: Any, default: Any, column: str) -> None:
    """Validators compare, and a text or a fraction might pass where a whole number is needed."""
    if isinstance(default, tuple):
        right, expected = isinstance(value, Sequence), "a list"  # what is in it is checked where it is taken
    elif default is None:
        right, expected = isinstance(value, str | Mapping if name == "json_schema" else str), "a text"
    else:
        expected = f"a number like {default}"
        right = isinstance(value, int if type(default) is int else (int, float)) and not isinstance(value, bool)
    if not right:
        raise ConfigError(f"{column} has {name}={value!r}; expected {expected}")
