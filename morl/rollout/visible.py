"""Which special tokens stay in the text of a completion, so that rewards can see the format that they ask for.

Everything that decodes leaves special tokens out: the end of a sequence, the markers of turns.  Models whose `<think>`
or `<tool_call>` is a special token, too, would lose these with them, and even a perfect answer would miss its format.
So the tokenizer that the run decodes with is a copy in which the tokens to be kept are ordinary ones.  It reads and
writes the same ids; what is exported with the model is the original.
"""

from __future__ import annotations

import copy
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from morl.errors import ConfigError, suggest
from morl.rollout.ends import special_tokens
from morl.texts import texts_in
from morl.types import Prompt

_log = logging.getLogger(__name__)

Keep: TypeAlias = Literal["auto", "none"] | list[str]

_TAG = re.compile(r"<(/?)([A-Za-z][\w-]*)>")
_ROWS = 64
"""Rows that are searched for tokens which rewards would miss."""


def readable_tokenizer(tokenizer: Any, keep: Keep, ends: Iterable[int]) -> Any:
    """A copy that shows the tokens to be kept when it decodes; the tokenizer itself where there are none.

    Args:
        tokenizer: of the policy.
        keep: `auto`, see `format_tokens`; `none`; or the tokens.
        ends: tokens at which the model ends a completion, which `auto` leaves out.

    Raises:
        ConfigError: a token that is no special token of the tokenizer; a tokenizer that cannot be changed.
    """
    special = special_tokens(tokenizer)
    if keep == "auto":
        kept = format_tokens(tokenizer, ends)
    else:
        kept = [] if keep == "none" else list(keep)
        for token in kept:
            if token not in special:
                raise ConfigError(
                    f"rollout.keep_special_tokens: {token!r} is no special token of the tokenizer"
                    f"{suggest(token, special)}; it has {', '.join(sorted(special))} (others are always kept)"
                )
    if not kept:
        return tokenizer
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        message = (
            f"{', '.join(kept)} cannot be kept in the text that rewards see: {type(tokenizer).__name__} has no fast"
            " implementation"
        )
        if keep == "auto":
            _log.warning("%s; set rollout.keep_special_tokens=none if no reward looks for them", message)
            return tokenizer
        raise ConfigError(f"rollout.keep_special_tokens: {message}")
    return _with_ordinary(tokenizer, frozenset(kept))


def format_tokens(tokenizer: Any, ends: Iterable[int]) -> list[str]:
    """Special tokens that are part of what a policy says, in the order of their ids.

    These are pairs of tags (`<think>` and `</think>`) and what the chat template spells out.  Not those that have a
    name of their own (beginning, end, padding), that end a completion, or that the template writes around every turn.
    """
    special, ends = special_tokens(tokenizer), {*ends}
    named = {token for token in tokenizer.special_tokens_map.values() if isinstance(token, str)}
    template = tokenizer.chat_template or ""
    source = "".join(template.values()) if isinstance(template, Mapping) else template
    turn, opening = _renderings(tokenizer)
    found = []
    for token, index in special.items():
        if token in named or index in ends or token in turn:
            continue
        if _is_paired(token, special) or (token in source and token not in opening):
            found.append(token)
    return sorted(found, key=special.__getitem__)


def warn_of_hidden(tokenizer: Any, prompts: Sequence[Prompt], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Warns once where data or rewards speak of special tokens that the text of a completion leaves out.

    A gold answer with such a token in it would not score what it should, if it were sampled.

    Args:
        tokenizer: that of the run, see `readable_tokenizer`.
        prompts: with their columns; the first rows are looked at.
        options: of the rewards, by name.
    """
    hidden = sorted(special_tokens(tokenizer), key=len, reverse=True)
    places = [(f"reward {name!r}", option) for name, option in options.items()]
    places += [
        (f"column {column!r} of row {row}", value)
        for row, prompt in enumerate(prompts[: min(_ROWS, len(prompts))])
        for column, value in prompt.columns.items()
    ]
    for place, value in places:
        for text in texts_in(value):
            token = next((token for token in hidden if token in text), None)
            if token is not None:
                _log.warning(
                    "%s speaks of the special token %s, which the text that rewards see leaves out, so that such an"
                    " answer would not be recognised; to keep it, set rollout.keep_special_tokens=['%s']",
                    place,
                    token,
                    token,
                )
                return


def _with_ordinary(tokenizer: Any, kept: frozenset[str]) -> Any:
    """A copy in which these tokens are added tokens like others, matched and encoded as before."""
    from tokenizers import Tokenizer

    made = copy.deepcopy(tokenizer)
    core = json.loads(made.backend_tokenizer.to_str())
    for token in core["added_tokens"]:
        token["special"] = token["special"] and token["content"] not in kept
    made._tokenizer = Tokenizer.from_str(json.dumps(core))
    extra = getattr(made, "_extra_special_tokens", None) or []
    made._extra_special_tokens = [token for token in extra if str(token) not in kept]
    for name, token in list(made._special_tokens_map.items()):
        if str(token) in kept:
            del made._special_tokens_map[name]
    assert not kept & {*special_tokens(made)}
    return made


def _renderings(tokenizer: Any) -> tuple[str, str]:
    """A turn of the user, and the same with the opening of the assistant's; empty where there is no template."""
    if not tokenizer.chat_template:
        return "", ""
    message = [{"role": "user", "content": "u"}]
    try:
        turn, opening = (
            str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=opened))
            for opened in (False, True)
        )
    except Exception:  # noqa: BLE001 - templates raise anything; the prompts themselves will show what is wrong
        return "", ""
    return turn, opening


def _is_paired(token: str, others: Iterable[str]) -> bool:
    tag = _TAG.fullmatch(token)
    return tag is not None and f"<{'' if tag[1] else '/'}{tag[2]}>" in others
