"""Structured output: which tokens keep a completion within a regular expression, a JSON schema or a grammar.

The masks are llguidance's, which knows the tokenizer: a token is allowed where some text of the language begins with
what was drawn and that token.  Ends are allowed where the text is complete.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from attrs import define, field
from torch import Tensor

from morl.errors import ConfigError, RolloutError
from morl.rollout.ends import end_tokens, special_tokens
from morl.sampling import CONSTRAINTS
from morl.types import Sampling


@define(eq=False)
class Constraint:
    """A language that completions are drawn within, compiled for a tokenizer.

    Args:
        sampling: has one of `CONSTRAINTS`.
        tokenizer: of the policy.
        generation_config: of the model.

    Raises:
        ConfigError: llguidance is not installed, does not know such a tokenizer, or finds a mistake in the language;
            there is no token to end with.
    """

    sampling: Sampling
    tokenizer: Any
    generation_config: Any = None
    _first: Any = field(init=False)
    _width: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        (name,) = (each for each in CONSTRAINTS if getattr(self.sampling, each) is not None)
        if importlib.util.find_spec("llguidance") is None:
            raise ConfigError(f"sampling.{name} needs llguidance: pip install 'morl-llm[structured]'")
        from llguidance import LLMatcher

        known = _tokenizer(self.tokenizer, self._ends(name), name)
        text = getattr(self.sampling, name)
        compiled: dict[str, Any] = {
            "regex": LLMatcher.grammar_from_regex,
            "json_schema": LLMatcher.grammar_from_json_schema,
            "grammar": LLMatcher.grammar_from_lark,
        }
        try:
            grammar = compiled[name](text)
        except ValueError as error:
            raise ConfigError(f"sampling.{name}: {error}") from error
        self._first, self._width = LLMatcher(known, grammar, log_level=0), known.vocab_size
        if self._first.is_error():
            raise ConfigError(f"sampling.{name}: {self._first.get_error()}")

    def begin(self, rows: int) -> AllowedTokens:
        """Of so many completions, none of which has begun."""
        return AllowedTokens([self._first.deep_copy() for _ in range(rows)], self._width)

    def _ends(self, name: str) -> list[int]:
        """Tokens that end a completion and are no text, which the language does not know."""
        stops = {*self.sampling.stop_token_ids} & {*special_tokens(self.tokenizer).values()}
        ends = sorted(end_tokens(self.tokenizer, self.generation_config) | stops)
        if not ends:
            raise ConfigError(
                f"sampling.{name}: the tokenizer has no end-of-sequence token, so nothing could follow a text that is"
                " complete; name a special token in sampling.stop_token_ids"
            )
        return ends


def _tokenizer(tokenizer: Any, ends: list[int], name: str) -> Any:
    """The tokenizer as llguidance has it."""
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer, eos_token=ends)
    except Exception as error:
        raise ConfigError(
            f"sampling.{name}: llguidance needs a tokenizer of bytes, byte-level or with byte fallback, as trained"
            f" models have, and cannot read this {type(tokenizer).__name__} as one; leave it out, or take another model"
            f" ({error})"
        ) from error


@define(eq=False)
class AllowedTokens:
    """Which tokens may come next in each live row."""

    _matchers: list[Any]
    _width: int

    def next(self, vocabulary: int, device: torch.device) -> Tensor:
        """True at the tokens (N, V) that a row may draw now.

        Raises:
            RolloutError: none is left, for a text that the model's vocabulary cannot write.
        """
        # Not by `llguidance.torch`, whose import takes torch's compiler along.
        bits = bytearray(b"".join(matcher.compute_bitmask() for matcher in self._matchers))
        bits_NW = torch.frombuffer(bits, dtype=torch.int32).unflatten(0, (len(self._matchers), -1))
        columns = torch.arange(32, dtype=torch.int32)
        allowed = (bits_NW[:, :, None] >> columns & 1).bool().flatten(1)[:, : self._width]
        # A model may have fewer rows in its embedding than its tokenizer has tokens, or more.
        allowed_NV = torch.nn.functional.pad(allowed[:, :vocabulary], (0, max(vocabulary - self._width, 0)))
        if not allowed_NV.any(1).all():
            raise RolloutError("the constraint of sampling leaves no token to draw: the vocabulary cannot write on")
        return allowed_NV.to(device)

    def add(self, tokens_N: Tensor) -> None:
        """One more token of every live row."""
        for matcher, token in zip(self._matchers, tokens_N.tolist(), strict=True):
            if not matcher.consume_token(token):
                raise RolloutError(f"llguidance refuses token {token}, which it allowed: {matcher.get_error()}")

    def keep(self, order: Tensor) -> None:
        """Goes on with these rows."""
        self._matchers = [self._matchers[row] for row in order.tolist()]


def constraint_of(sampling: Sampling, tokenizer: Any, generation_config: Any) -> Constraint | None:
    """The language of completions, or None where they are free."""
    free = all(getattr(sampling, name) is None for name in CONSTRAINTS)
    return None if free else Constraint(sampling, tokenizer, generation_config)
