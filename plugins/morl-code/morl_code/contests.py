"""Programming contests: rows in the layouts of Eurus-2-RL (PRIME, arXiv 2502.01456), TACO and APPS."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

from attrs import frozen

from morl.errors import ConfigError, DataError
from morl.types import Prompt
from morl_code.calls import call_cases
from morl_code.rows import read_rows, text_of
from morl_code.wording import PLEASE, Wording

if TYPE_CHECKING:
    from datasets import Dataset

_log = logging.getLogger(__name__)
_CODE = ("code", "coding")
_STDIO = "{question}\n\nThe program reads the standard input and prints to the standard output. " + PLEASE
_CALL = "{question}\n\nWrite the function `{function}`.\n\n```python\n{starter_code}\n```\n\n" + PLEASE


@frozen(eq=False)
class CodeContests(Wording):
    """Prompts of contest problems with tests of standard input and output, or with calls of a function.

    Rows have the problem in `prompt`, as text or chat messages, or in `question`, and the tests, as JSON with `inputs`,
    `outputs` and maybe `fn_name`, in `reward_model.ground_truth` or `input_output`.  The prompts have the columns
    `tests`, `setup` and `names`, which the reward `code` reads, and `index`, the number of the row.

    Problems in `prompt` say themselves what they want and stay as they are, with their system message unless `system`
    is set.  Fields of the template are `{question}`, `{function}` and `{starter_code}`.

    Attributes:
        path: a `.parquet` or `.jsonl` file, or a hub data set.
        split: of a path that is not a single file.
        subset: of a hub data set that has several.
        other_abilities: rows whose `ability` is not code: `skip` them, or refuse them with an `error`.
        tolerance: by how much floating-point results of calls may differ, absolutely or relatively; 0, the default,
            compares exactly.  Those of standard output have the reward's own.
        unusable: rows without tests or with tests that cannot be read: refuse them with an `error`, or `skip` them.

    Raises:
        ConfigError: another word for `other_abilities` or `unusable`, a tolerance out of range.
    """

    fields: ClassVar[tuple[str, ...]] = ("question", "function", "starter_code")
    path: str = "PRIME-RL/Eurus-2-RL-Data"
    split: str = "train"
    subset: str | None = None
    other_abilities: Literal["skip", "error"] = "skip"
    unusable: Literal["error", "skip"] = "error"
    tolerance: float = 0.0

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not 0 <= self.tolerance < 1:
            raise ConfigError(f"tolerance must be in [0, 1); got {self.tolerance}")
        for name in ("other_abilities", "unusable"):
            if getattr(self, name) not in ("skip", "error"):
                raise ConfigError(f"{name} must be 'skip' or 'error'; got {getattr(self, name)!r}")

    def load(self) -> ContestPrompts:
        """The rows of code, parsed when they are asked for, for their tests take much memory; all are looked at once.

        Raises:
            DataError: no row of code, a row of another ability, or one that cannot be used.
        """
        rows = read_rows(self.path, self.split, self.subset)
        abilities = rows["ability"] if "ability" in rows[0] else ["code"] * len(rows)
        usable: list[int] = []
        unusable: list[DataError] = []
        for index, ability in enumerate(abilities):
            if ability not in _CODE:
                if self.other_abilities == "error":
                    raise DataError(f"row {index} of {self.path} is of ability {ability!r}, not code; skip such rows")
                continue
            try:
                self.to_prompt(rows[index], index)
            except DataError as error:
                if self.unusable == "error":
                    raise
                unusable.append(error)
                continue
            usable.append(index)
            if len(usable) == self.limit:
                break
        if unusable:
            _log.warning(
                "%s: %d rows cannot be used and are left out; first: %s", self.path, len(unusable), unusable[0]
            )
        if not usable:
            found = ", ".join(sorted({str(ability) for ability in abilities}))
            raise DataError(f"{self.path!r} has no usable row of code; abilities: {found}")
        return ContestPrompts(self, rows, usable)

    def to_prompt(self, row: Mapping[str, Any], index: int) -> Prompt:
        """The prompt of one row, with its tests.

        Raises:
            DataError: no problem, no tests, or tests that cannot be read; the message names the row.
        """
        where = f"row {index} of {self.path}"
        tests = _tests(row, where)
        function = tests.get("fn_name") or ""
        if function:
            setup, cases = call_cases(function, tests["inputs"], tests["outputs"], where, self.tolerance)
        else:
            setup, cases = "", _stdio_cases(tests["inputs"], tests["outputs"], where)
        system, question = _problem(row, where)
        default = "{question}" if "prompt" in row else _CALL if function else _STDIO
        fields = {"question": question, "function": function, "starter_code": (row.get("starter_code") or "").strip()}
        columns = {"index": index, "setup": setup, "tests": cases, "names": [function, "Solution"] if function else []}
        return Prompt(self.content(default, fields, system), columns)


@frozen(eq=False)
class ContestPrompts(Sequence[Prompt]):
    """The usable rows as prompts, made when they are asked for."""

    source: CodeContests
    rows: Dataset
    usable: Sequence[int]

    def __len__(self) -> int:
        return len(self.usable)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prompt]: ...
    def __getitem__(self, index: int | slice) -> Prompt | list[Prompt]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        row = self.usable[index]
        return self.source.to_prompt(self.rows[row], row)


def _tests(row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """`inputs` and `outputs`, lists of one length, and maybe `fn_name`."""
    tests = (row.get("reward_model") or {}).get("ground_truth") or row.get("input_output")
    if not tests:
        raise DataError(f"{where} has no tests in 'reward_model.ground_truth' or 'input_output'")
    if isinstance(tests, str):
        try:
            tests = json.loads(tests)
        except ValueError as error:
            raise DataError(f"{where}: the tests are not JSON: {error}; they begin {tests!r:.80}") from error
    tests = tests if isinstance(tests, Mapping) else {}
    inputs, outputs = tests.get("inputs"), tests.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or not inputs:
        raise DataError(f"{where}: the tests must have 'inputs' and 'outputs', as many of each, and at least one")
    return tests


def _stdio_cases(inputs: Sequence[Any], outputs: Sequence[Any], where: str) -> list[dict[str, str]]:
    return [
        {"stdin": _text(stdin, where), "stdout": _text(stdout, where)}
        for stdin, stdout in zip(inputs, outputs, strict=True)
    ]


def _text(value: Any, where: str) -> str:
    """Of a test: text, or a list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise DataError(f"{where}: a test without 'fn_name' must be texts, or lists of lines; got {value!r:.80}")
    return value


def _problem(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The row's system message, if any, and the problem."""
    if not isinstance(row.get("prompt"), list):
        return "", text_of(row, ["prompt", "question"], where)
    system = "".join(message["content"] for message in row["prompt"] if message["role"] == "system")
    others = [message for message in row["prompt"] if message["role"] != "system"]
    if len(others) != 1 or others[0]["role"] != "user":
        raise DataError(f"{where}: the prompt must be one user message, with or without a system message")
    return system, text_of(others[0], ["content"], where)
