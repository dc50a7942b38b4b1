"""Do the prompts have the columns that the rewards read?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from morl.errors import DataError, suggest
from morl.types import Prompt


def check_columns(
    prompts: Sequence[Prompt],
    required: Mapping[str, Sequence[str]],
    applies: Callable[[str, Prompt], bool] = lambda reward, prompt: True,
) -> None:
    """Checks every row of a list or tuple; of rows that are read lazily, which share their columns, the first.

    Args:
        prompts: of a run.
        required: column -> names of the rewards that need it.
        applies: whether a reward, by name, applies to a prompt; where it does not, the prompt needs no column for it.

    Raises:
        DataError: a row without a required column; the message names the reward, the row and the columns there are.
    """
    rows = prompts if isinstance(prompts, (list, tuple)) else prompts[:1]
    for row, prompt in enumerate(rows):
        for column, rewards in required.items():
            if column not in prompt.columns:
                asked = [name for name in rewards if applies(name, prompt)]
                if not asked:
                    continue
                names = ", ".join(repr(name) for name in asked)
                present = ", ".join(prompt.columns) or "no columns besides the prompt"
                raise DataError(
                    f"the prompts have no column {column!r}, which reward {names} needs"
                    f"{suggest(column, prompt.columns)}; row {row} has {present}"
                )


def check_routes(prompts: Sequence[Prompt], columns: Mapping[str, str], applies: Callable[[str, Prompt], bool]) -> None:
    """Every reward with a condition on a column applies to some prompt.

    Args:
        prompts: of a run; a lazy sequence is not searched.
        columns: reward -> the column that decides.
        applies: whether a reward, by name, applies to a prompt.

    Raises:
        DataError: a reward that applies to none, with the values of its column.
    """
    if not isinstance(prompts, (list, tuple)):
        return
    for reward, column in columns.items():
        if any(applies(reward, prompt) for prompt in prompts):
            continue
        present = dict.fromkeys(name for prompt in prompts for name in prompt.columns)
        if column not in present:
            there = ", ".join(present) or "no columns besides the prompt"
            raise DataError(
                f"rewards.{reward}.when: the prompts have no column {column!r}{suggest(column, present)}; they have"
                f" {there}"
            )
        values = list(dict.fromkeys(repr(prompt.columns.get(column)) for prompt in prompts))
        shown = ", ".join(values[:10]) + (", ..." if len(values) > 10 else "")
        raise DataError(f"rewards.{reward}.when: no prompt has such a value; column {column!r} has {shown}")
