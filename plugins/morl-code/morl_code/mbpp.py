"""MBPP (Austin et al., arXiv 2108.07732): write a function from one sentence and the asserts that it must pass."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from attrs import frozen

from morl.errors import ConfigError, DataError
from morl.prompts import is_single_file
from morl.types import Prompt
from morl_code.rows import read_rows, text_of
from morl_code.syntax import parse
from morl_code.wording import PLEASE, Wording

_TEMPLATE = "{text}\n\nThe program must pass these tests:\n\n```python\n{tests}\n```\n\n" + PLEASE
_TASKS = {
    "prompt": range(1, 11),
    "test": range(11, 511),
    "validation": range(511, 601),
    "train": range(601, 975),
    "all": range(1, 975),
}
"""Split -> `task_id`, as the data set's authors number them."""


@frozen(eq=False)
class MBPP(Wording):
    """Prompts of MBPP, its sanitized version, and data sets in their layout.

    Rows have `task_id`, `text` or `prompt`, `test_list`, and maybe `test_setup_code`, `test_imports`, `code` and
    `challenge_test_list`.  The prompts have the columns `tests`, `setup` and `names`, which the reward `code` reads,
    `task_id` and `reference`.

    The name of the function stands nowhere but in the asserts, so the prompt shows them, as in the paper; fields of the
    template are `{text}` and `{tests}`.

    Attributes:
        path: a file in the layout of `mbpp.jsonl`, or a hub data set.
        split: `train`, `validation`, `test`, `prompt` (the ten rows of few-shot prompts) or `all`; of a single file,
            the rows whose `task_id` the authors put there.
        subset: of a hub data set: `full` or `sanitized`.
        challenge: also test with `challenge_test_list`, where a row has one; the prompt does not show it.

    Raises:
        ConfigError: an unknown split.
    """

    fields: ClassVar[tuple[str, ...]] = ("text", "tests")
    path: str = "google-research-datasets/mbpp"
    split: Literal["train", "validation", "test", "prompt", "all"] = "train"
    subset: str | None = None
    challenge: bool = False

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.split not in _TASKS:
            raise ConfigError(f"split must be one of {', '.join(_TASKS)}; got {self.split!r}")
        if self.subset is not None and is_single_file(self.path):
            raise ConfigError(f"subset belongs to hub data sets, but {self.path!r} is a file")

    def load(self) -> list[Prompt]:
        """The rows of the split, in the order of the file.

        Raises:
            DataError: a row without text or tests; no row of the split.
        """
        rows = read_rows(self.path, self.split, self.subset)
        chosen: list[int] = list(range(len(rows)))
        if is_single_file(self.path):
            chosen = [index for index in chosen if rows[index].get("task_id") in _TASKS[self.split]]
        if not chosen:
            raise DataError(f"{self.path!r} has no row of split {self.split!r}, which is told by `task_id`")
        return [self._prompt(rows[index], f"row {index} of {self.path}") for index in chosen[: self.limit]]

    def _prompt(self, row: Mapping[str, Any], where: str) -> Prompt:
        shown = _lines(row.get("test_list"))
        if not shown:
            raise DataError(f"{where} has no 'test_list'; its columns: {', '.join(row)}")
        hidden = _lines(row.get("challenge_test_list")) if self.challenge else []
        setup = [*_lines(row.get("test_imports")), *_lines([row.get("test_setup_code") or ""])]
        text = text_of(row, ["text", "prompt"], where)
        reference = _unix(row.get("code") or "")
        imports, names = _shared_names(reference, [*setup, *shown, *hidden])
        return Prompt(
            self.content(_TEMPLATE, {"text": text.strip(), "tests": "\n".join(shown)}),
            {
                "task_id": row.get("task_id"),
                "setup": "\n".join([*imports, *setup]),
                "tests": [{"code": test} for test in [*shown, *hidden]],
                "names": names,
                "reference": reference,
            },
        )


def _shared_names(reference: str, tests: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Imports that the tests rely on a program to make, and what they take from it, one of which is called `sum`.

    Both are told by the reference: what it imports or defines, and the tests use.
    """
    try:
        body = parse(reference).body
        used = {node.id for test in tests for node in ast.walk(parse(test)) if isinstance(node, ast.Name)}
    except SyntaxError:
        return [], None
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    relied_on = [node for node in imports if used & {(alias.asname or alias.name) for alias in node.names}]
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return [ast.unparse(node) for node in relied_on], sorted(defined & used) or None


def _lines(texts: Any) -> list[str]:
    return [_unix(text).strip() for text in texts or [] if text.strip()]


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")
