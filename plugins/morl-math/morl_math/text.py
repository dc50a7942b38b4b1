"""An answer's text without what does not belong to its meaning."""

from __future__ import annotations

import re

from attrs import frozen

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2013\u2010\u2011\ufe63\uff0d", "-"),  # minus sign, en dash, hyphens
        **dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\u202f\n\r\t", " "),
        **dict.fromkeys("\u200b\u2060\ufeff", ""),
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
        "\u00b7": r" \cdot ",
        "\u22c5": r" \cdot ",
        "\u221e": r" \infty ",
        "\u2208": r" \in ",
        "\u222a": r" \cup ",
        "\u00b0": r"^\circ ",
        "\u00b2": "^{2}",
        "\u00b3": "^{3}",
        "\u00bd": r"\frac{1}{2}",
        "\u00bc": r"\frac{1}{4}",
        "\u00be": r"\frac{3}{4}",
    }
)
_NOTHING = re.compile(r"\\!|(?<!\\)\\(?:left|right)(?![A-Za-z])|(?<!\\)\\[()\[\]]")
_SPACE = re.compile(r"\\[,;: ]|\\q?quad(?![A-Za-z])|(?<!\\)~|\s+")
_SEGMENT = re.compile(r"(?<!\\)\$+")
_WRAPPER = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)\s*\{([^{}\\]*)\}")
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")
_LETTERS = re.compile(r"[^\W\d_](?:[^\W\d_]|[ ,.'’&-])*")
_WORD_LENGTH = 4


@frozen
class Answer:
    """A cleaned answer.

    Attributes:
        text: LaTeX or plain, on one line, without delimiters of mathematics around it.
        upright: all of it stood in `\\text{..}` or the like.
    """

    text: str
    upright: bool

    @property
    def words(self) -> str | None:
        """The answer as words, in lower case; None if it is something else.

        Letters that are not set upright are words if there are at least four in a row: `ab` is a product, `east` is
        not, though math-verify takes it for one, and so for equal to `seat`.
        """
        letters = self._letters()
        if letters is None or not (self.upright or any(len(word) >= _WORD_LENGTH for word in letters.split())):
            return None
        return letters

    def says(self, words: str) -> bool:
        """Whether the answer is these words, however they are set."""
        return self._letters() == words

    def _letters(self) -> str | None:
        inside = self.text.removeprefix("(").removesuffix(")")
        return " ".join(inside.casefold().split()) if _LETTERS.fullmatch(inside) else None


def clean(text: str) -> Answer:
    """Drops emphasis, delimiters of mathematics, spacing commands and final periods; brings characters to one form.

    >>> clean(" **$\\\\left(1{,}000\\\\,;\\u22122\\\\right)$.** ")
    Answer(text='(1,000 ;-2)', upright=False)
    """
    text = _SEGMENT.sub("$", _bare(text.translate(_CHARACTERS)))
    parts = re.split(r"(?<!\\)\$", text)
    # One formula in a sentence is the answer; of several, none can be chosen.
    text = parts[1] if len(parts) == 3 and parts[1].strip() else "".join(parts)
    text = _SPACE.sub(" ", _NOTHING.sub("", text).replace("{,}", ","))
    text = _GROUPS.sub(lambda found: found[0].replace(" ", ""), _bare(text))
    wrapped = _WRAPPER.fullmatch(text)
    return Answer(_bare(wrapped[1]), True) if wrapped else Answer(text, False)


def _bare(text: str) -> str:
    """Without white space, emphasis and final punctuation."""
    before = None
    while text != before:
        before = text
        text = text.strip().strip("`")
        text = text[:-1] if text[-1:] in ".,;" and text[-2:-1] != "\\" else text
        if len(text) > 4 and text.startswith("**") and text.endswith("**"):
            text = text[2:-2]
    return text
