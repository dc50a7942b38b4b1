"""What the tests of the kits share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from morl.testing import LawBroken


def caught(check: Callable[..., None], laws: Any, law: str, part: Any, *arguments: Any, **options: Any) -> None:
    """The law catches the part, also with the others switched off."""
    with pytest.raises(LawBroken, match=f"breaks the law {law!r}: "):
        check(part, *arguments, without=set(laws) - {law}, **options)
