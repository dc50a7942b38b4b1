"""Do the prompts have the columns that the rewards read?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from morl.errors import DataError, suggest
from morl.types import Prompt


def check_columns(prompts: Sequence[Prompt], required: Mapping[str, Sequence[str]]) -> None:
    """Checks every row of a list or tuple; of rows that are read lazily, which share their columns, the first.

    Args:
        prompts: of a run.
        required: column -> names of the rewards that need it.

    Raises:
        DataError: a row without a required column; the message names the reward, the row and the columns there are.
    """
    rows = prompts if isinstance(prompts, (list, tuple)) else prompts[:1]
    for row, prompt in enumerate(rows):
        for column, rewards in required.items():
            if column not in prompt.columns:
                names = ", ".join(repr(name) for name in rewards)
                present = ", ".join(prompt.columns) or "no columns besides the prompt"
                raise DataError(
                    f"the prompts have no column {column!r}, which reward {names} needs"
                    f"{suggest(column, prompt.columns)}; row {row} has {present}"
                )
