"""Text of special tokens in what others wrote: it stays text, and forges no turn.

A tokenizer makes `<|im_end|>` one token wherever it reads these letters, in the result of a tool or the column of a
data set as well.  So such text is taken out before the chat template sees it, and put back into the rendered text,
which is then encoded by a copy of the tokenizer whose special tokens have other names: what the template wrote is
renamed, too, and what others wrote is no longer a name.  Everything else is encoded as ever.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from attrs import field, frozen

from morl.errors import DataError
from morl.texts import texts_in

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

_CONTROL = re.compile(r"<\|.*\|>|<｜.*｜>|<\|.*>|<.*\|>", re.DOTALL)
"""How tokens that separate messages are written, whether or not a tokenizer calls them special."""


@frozen
class Hidden:
    """What was taken out of messages.

    Attributes:
        texts: placeholder -> the text of a token that it stands for.
        is_needed: whether the rendered text must be encoded by the copy.
    """

    texts: Mapping[str, str] = field(factory=dict)
    is_needed: bool = False

    def restore(self, text: str) -> str:
        """The text as it was."""
        for placeholder, original in self.texts.items():
            text = text.replace(placeholder, original)
        return text


@frozen(eq=False)
class SpecialTokens:
    """The tokens of a tokenizer that only a chat template may write.

    Made by `SpecialTokens.of`.

    Attributes:
        tokenizer: of the policy.
        names: texts of these tokens.
    """

    tokenizer: PreTrainedTokenizerBase
    names: frozenset[str]
    _pattern: re.Pattern[str] = field(init=False)

    @_pattern.default
    def _longest_first(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, sorted(self.names, key=lambda name: (-len(name), name)))) or r"(?!)")

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, template: str = "") -> SpecialTokens:
        """Special tokens, and others that the chat template writes itself, such as `<tool_response>`.

        Args:
            tokenizer: of the policy.
            template: source of the chat template.
        """
        added = tokenizer.added_tokens_decoder.values()
        names = {token.content for token in added if token.special or _CONTROL.fullmatch(token.content)}
        names |= {token.content for token in added if token.content in template}
        return cls(tokenizer, frozenset(name for name in names if name.strip()))

    def found_in(self, text: str) -> str | None:
        """The first of the tokens whose text stands in a text, as it is or once the tokenizer has normalised it."""
        match = self._pattern.search(text) or self._pattern.search(self._normalised(text))
        return None if match is None else match[0]

    def hide(self, given: T) -> tuple[T, Hidden]:
        """Messages, or whatever a template is given, with placeholders for the text of tokens, and what was hidden."""
        texts = [*texts_in(given, keys=True)]
        if not any(self.found_in(text) for text in texts):
            return given, Hidden()
        prefix = "Zq7Vx"
        while any(prefix in text for text in texts):
            prefix += "q"
        originals = sorted({match[0] for text in texts for match in self._pattern.finditer(text)})
        placeholders = {original: f"{prefix}{number}Z" for number, original in enumerate(originals)}
        hidden = Hidden({placeholder: original for original, placeholder in placeholders.items()}, True)
        return changed(given, lambda text: self._pattern.sub(lambda match: placeholders[match[0]], text)), hidden

    def encode(self, text: str, hidden: Hidden) -> list[int]:
        """The ids of a rendered text, the hidden texts put back as text.

        Raises:
            DataError: a tokenizer that cannot keep the two apart.
        """
        if not hidden.is_needed:
            ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            return ids
        copy = _renamed(self.tokenizer, self.names)
        written = len(self._pattern.findall(text))
        ids = copy.core.encode(
            hidden.restore(self._pattern.sub(lambda match: copy.names[match[0]], text)), add_special_tokens=False
        ).ids
        if sum(index in copy.ids for index in ids) > written:
            raise DataError(
                f"the tokenizer {self.tokenizer.name_or_path!r} makes special tokens of text that reads like one"
            )
        return ids

    def _normalised(self, text: str) -> str:
        normalizer = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "normalizer", None)
        return text if normalizer is None else str(normalizer.normalize_str(text))


@frozen(eq=False)
class _Renamed:
    """A tokenizer whose special tokens have names that nobody can guess.

    Attributes:
        core: the tokenizer.
        names: old name -> new one.
        ids: of the renamed tokens.
    """

    core: Tokenizer
    names: Mapping[str, str]
    ids: frozenset[int]


_copies: WeakKeyDictionary[PreTrainedTokenizerBase, dict[frozenset[str], _Renamed]] = WeakKeyDictionary()
_lock = threading.Lock()


def _renamed(tokenizer: PreTrainedTokenizerBase, names: frozenset[str]) -> _Renamed:
    """The copy of a tokenizer, made when it is first needed: a second for a large vocabulary."""
    with _lock:
        made = _copies.setdefault(tokenizer, {})
        if names not in made:
            made[names] = _rename(tokenizer, names)
        return made[names]


def _rename(tokenizer: PreTrainedTokenizerBase, names: frozenset[str]) -> _Renamed:
    from tokenizers import Tokenizer

    where = f"the tokenizer {tokenizer.name_or_path!r}"
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        raise DataError(f"{where} has no fast form, which is needed to keep text that reads like a special token text")
    new = {name: f"<|{secrets.token_hex(16)}|>" for name in sorted(names)}
    state = json.loads(core.to_str())
    state["truncation"] = state["padding"] = state["post_processor"] = None
    for token in state["added_tokens"]:
        token["content"] = new.get(token["content"], token["content"])
    _rename_in_model(state["model"], new)
    copy = Tokenizer.from_str(json.dumps(state))
    before, after = core.get_added_tokens_decoder(), copy.get_added_tokens_decoder()
    if {index: new.get(token.content, token.content) for index, token in before.items()} != {
        index: token.content for index, token in after.items()
    }:
        raise DataError(f"{where} numbers its special tokens in a way that cannot be copied")
    return _Renamed(copy, new, frozenset(index for index, token in before.items() if token.content in names))


def _rename_in_model(model: dict[str, Any], new: Mapping[str, str]) -> None:
    """Takes the names out of the vocabulary, so that no merge or longest piece makes one of text."""
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        model["vocab"] = {new.get(piece, piece): index for piece, index in vocabulary.items()}
    elif isinstance(vocabulary, list):
        model["vocab"] = [[new.get(piece, piece), score] for piece, score in vocabulary]
    if model.get("unk_token") in new:
        model["unk_token"] = new[model["unk_token"]]
    if model.get("merges"):
        pairs = [(pair, pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
        model["merges"] = [pair for pair, parts in pairs if not {*parts, "".join(parts)} & new.keys()]


def changed(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of a value of mappings and lists with every text changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {changed(key, change): changed(inner, change) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [changed(inner, change) for inner in value]
    return value
