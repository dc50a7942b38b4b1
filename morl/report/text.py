"""Texts of a run as people can read them: nothing in them controls a terminal, a page or a figure."""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

_CODE = re.compile("`([^`]+)`")
MOST_CHARACTERS = 20_000
"""Of a text on the page; the samples file has the rest."""


def visible(value: object) -> str:
    """A text with its control characters spelled out, also those that turn the direction of what follows.

    >>> visible("a\\x00b")
    'a\\\\x00b'
    """
    text = value if isinstance(value, str) else repr(value)
    shown = "".join(_spelled(each) for each in text[:MOST_CHARACTERS])
    more = len(text) - MOST_CHARACTERS
    return f"{shown} ... [{more} characters more in the samples file]" if more > 0 else shown


def with_code(text: str) -> Markup:
    """HTML of a text of ours, with what stands between backticks as code.

    >>> with_code("`a<b` is 1")
    Markup('<code>a&lt;b</code> is 1')
    """
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def printable(text: str) -> str:
    """The whole of a text, with control characters spelled out: for a terminal, which they would control."""
    return "".join(map(_spelled, text))


def _spelled(each: str) -> str:
    if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return each
    # The joiners of scripts and of emoji belong to their text.
    return each if each in "\u200c\u200d" else each.encode("unicode_escape", "surrogatepass").decode("ascii")
