"""HumanEval (Chen et al., arXiv 2107.03374): complete a function from its signature and docstring."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from attrs import frozen

from morl.errors import DataError
from morl.types import Prompt
from morl_code.rows import read_rows, text_of
from morl_code.syntax import parse
from morl_code.wording import PLEASE, Wording

_CHAT = "Complete this Python function:\n\n```python\n{prompt}\n```\n\n" + PLEASE


@frozen(eq=False)
class HumanEval(Wording):
    """Prompts of HumanEval, and of data sets in its layout.

    Rows have `task_id`, `prompt`, `test` with a function `check(candidate)`, `entry_point` and `canonical_solution`.
    The prompts have the columns `tests`, `setup`, `prefix` and `names`, which the reward `code` reads, and `task_id`,
    `entry_point` and `reference`.

    The template's field is `{prompt}`, the beginning of the function; with `chat: false` it stands by itself.

    Attributes:
        path: a file in the layout of `HumanEval.jsonl.gz`, or a hub data set.
        split: of a hub data set.
    """

    fields: ClassVar[tuple[str, ...]] = ("prompt",)
    path: str = "openai/openai_humaneval"
    split: str = "test"

    def load(self) -> list[Prompt]:
        """All rows, in the order of the file.

        Raises:
            DataError: a row without one of the columns, or with a `check` that cannot be read.
        """
        rows = read_rows(self.path, self.split)
        count = min(len(rows), self.limit or len(rows))
        return [self._prompt(rows[index], f"row {index} of {self.path}") for index in range(count)]

    def _prompt(self, row: Mapping[str, Any], where: str) -> Prompt:
        prefix, test, entry_point = (text_of(row, [name], where) for name in ("prompt", "test", "entry_point"))
        setup, cases = split_check(test, entry_point, where)
        helpers = _helpers(prefix, entry_point, where)
        return Prompt(
            self.content(_CHAT if self.chat else "{prompt}", {"prompt": prefix.strip() if self.chat else prefix}),
            {
                "task_id": row.get("task_id"),
                "entry_point": entry_point,
                "prefix": prefix,
                "setup": f"{helpers}\n{setup}".strip(),
                "names": [entry_point],
                "tests": [{"code": case} for case in cases],
                "reference": row.get("canonical_solution"),
            },
        )


def split_check(test: str, entry_point: str, where: str = "test") -> tuple[str, list[str]]:
    """What runs before the cases, and the cases, of a test that defines `check(candidate)`.

    A `check` that is nothing but asserts is split into them, so that each counts.  Those that hold whatever the
    candidate returns are no cases: those that do not look at it (`assert True` stands in many rows), and those that
    compare it with itself (`assert candidate(x) == candidate(y)`, or with the entry point by name).  Any other `check`,
    with loops or values of its own, stays one case, without such asserts.

    Raises:
        DataError: no function `check` of one argument, or one that never looks at it: every program would pass.

    >>> split_check("def check(f):\\n    assert f(1) == 2\\n    assert True\\n    assert f(2) == 3", "add_one")
    ('f = add_one', ['assert f(1) == 2', 'assert f(2) == 3'])
    """
    try:
        module = parse(test)
    except SyntaxError as error:
        raise DataError(f"{where}: the test does not compile: {error}") from error
    check = next((n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "check"), None)
    if check is None or len(check.args.args) != 1:
        raise DataError(f"{where}: the test must define check(candidate); got {test.strip()!r:.80}")
    candidate = check.args.args[0].arg
    names = {candidate, entry_point}
    idle = _Idle(names)
    idle.visit(check)
    if not any(_mentions(node, names) for node in check.body):
        fault = f"compares {candidate!r} with itself only" if idle.found else f"never looks at {candidate!r}"
        raise DataError(f"{where}: check({candidate}) {fault}, so that every program would pass")
    if not all(isinstance(node, ast.Assert) or _is_idle(node) for node in check.body):
        return (ast.unparse(module) if idle.found else test), [f"check({entry_point})"]
    cases = [ast.unparse(node) for node in check.body if isinstance(node, ast.Assert)]
    others = [ast.unparse(node) for node in module.body if node is not check]
    return "\n".join([*others, f"{candidate} = {entry_point}"]), cases


class _Idle(ast.NodeTransformer):
    """Drops asserts that hold for every program: those of constants, and of the program with itself.

    Attributes:
        found: there was one of the second kind.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self.found = False

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        if isinstance(node.test, ast.Constant) and node.test.value:
            return ast.Pass()
        if self._is_of_itself(node.test):
            self.found = True
            return ast.Pass()
        return node

    def _is_of_itself(self, node: ast.expr) -> bool:
        """Whether a condition is about values of the program's only."""
        match node:
            case ast.BoolOp(values=values):
                return all(map(self._is_of_itself, values))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._is_of_itself(operand)
            case ast.Compare(
                left=ast.Call(args=[ast.BinOp(left=first, op=ast.Sub(), right=second)]),
                ops=[ast.Lt() | ast.LtE()],
                comparators=[_],
            ):
                return self._all_call([first, second])
            case ast.Compare(left=left, comparators=others):
                return self._all_call([left, *others])
            case ast.Call(args=[first, second, *_], func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return ("close" in name or "equal" in name.lower()) and self._all_call([first, second])
        return False

    def _all_call(self, nodes: Sequence[ast.expr]) -> bool:
        return all(any(_is_call(each, self._names) for each in ast.walk(node)) for node in nodes)


def _helpers(prefix: str, entry_point: str, where: str) -> str:
    """What the prompt defines beside the function: tests take it from there, where no program can redefine it."""
    try:
        nodes = parse(prefix).body
    except SyntaxError as error:
        raise DataError(f"{where}: the prompt is no beginning of a program: {error}") from error
    return "\n".join(ast.unparse(node) for node in nodes if getattr(node, "name", None) != entry_point)


def _is_idle(node: ast.stmt) -> bool:
    """A text or a mere name, which does nothing, or what was dropped."""
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.Name)
    )


def _is_call(node: ast.AST, names: Collection[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _mentions(node: ast.AST, names: Collection[str]) -> bool:
    """Whether a statement looks at one of these; what an assert says when it fails does not count."""
    looked_at = node.test if isinstance(node, ast.Assert) else node
    return any(isinstance(each, ast.Name) and each.id in names for each in ast.walk(looked_at))
