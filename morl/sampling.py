"""How completions are drawn; light enough for the config to import."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import field, frozen, validators

from morl.errors import ConfigError


def _stop_strings(texts: Sequence[str]) -> tuple[str, ...]:
    """Lone text would be taken apart into its letters."""
    if isinstance(texts, str) or not all(isinstance(text, str) and text for text in texts):
        raise ConfigError(f"sampling.stop must be a list of texts, none of them empty; got {texts!r}")
    return tuple(texts)


@frozen
class Sampling:
    """How completions are drawn.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: smallest set of tokens whose probability reaches this; 1 keeps all.
        top_k: this many likeliest tokens; 0 keeps all.
        max_tokens: a completion that reaches this length without ending is truncated.
        stop: texts that end a completion; the text that matched stays in it.  One that is a special token ends it, too.
        stop_token_ids: tokens that end a completion, besides those of the tokenizer and of the model.
        min_p: tokens whose probability reaches this share of the likeliest one's; 0 keeps all.
        repetition_penalty: positive logits of the tokens of prompt and completion are divided by it, negative ones
            multiplied; 1 changes nothing.  As with top-p, log-probabilities are those of the policy without it.
    """

    temperature: float = field(default=1.0, validator=[validators.ge(0.0), validators.lt(math.inf)])
    top_p: float = field(default=1.0, validator=[validators.gt(0.0), validators.le(1.0)])
    top_k: int = field(default=0, validator=validators.ge(0))
    max_tokens: int = field(default=256, validator=validators.ge(1))
    stop: tuple[str, ...] = field(default=(), converter=_stop_strings)
    stop_token_ids: tuple[int, ...] = field(default=(), converter=tuple)
    min_p: float = field(default=0.0, validator=[validators.ge(0.0), validators.le(1.0)])
    repetition_penalty: float = field(default=1.0, validator=[validators.gt(0.0), validators.lt(math.inf)])

    @stop_token_ids.validator
    def _are_ids(self, _: object, ids: tuple[object, ...]) -> None:
        if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in ids):
            raise ValueError(f"sampling.stop_token_ids must be ids of tokens, 0 or more; got {list(ids)}")
