"""Text that no file and no tokenizer can hold: halves of characters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morl.errors import DataError


def check_characters(value: Any, what: str) -> None:
    """Looks at every text in a value, keys included, for surrogates that stand alone.

    JSON can spell them (`"\\ud83d"`), but they are halves of characters, which UTF-8 does not have: tokenizers and
    files refuse them, in the middle of a run.

    Args:
        value: of a row; containers are searched, other objects are passed over.
        what: names the row and the column in errors.

    Raises:
        DataError: there is one.

    >>> check_characters({"answer": ["4", "\\N{GRINNING FACE}"]}, "row 0")
    >>> check_characters({"answer": ["4", "\\ud83d"]}, "row 0")
    Traceback (most recent call last):
    ...
    morl.errors.DataError: row 0 holds half a character, '\\ud83d', at position 0 of '\\ud83d'; mend the data: ...
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            excerpt = value[max(0, error.start - 20) : error.start + 20]
            raise DataError(
                f"{what} holds half a character, {value[error.start]!r}, at position {error.start} of {excerpt!r};"
                " mend the data: a surrogate has a meaning only in a pair"
            ) from None
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            check_characters(key, what)
            check_characters(inner, what)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            check_characters(inner, what)


def check_row(row: Mapping[str, Any], where: str) -> None:
    """`check_characters` of every column of a row, which the message names.

    Raises:
        DataError: there is half a character.
    """
    for column, value in row.items():
        check_characters({column: value}, f"{where}: column {column!a}")
