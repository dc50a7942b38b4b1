"""Names of a factory's options, read from its source text: a typo need not wait until PyTorch is imported."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from morl.hookspecs import Factory

_ATTRS = {"define", "frozen", "mutable", "dataclass"}
_EMPTY_BASES = {"Protocol", "Generic", "object", "ABC"}


def declared_options(factory: Factory) -> frozenset[str] | None:
    """The parameters of a factory; None where its text alone does not tell, and it has to be imported.

    `tests/config/test_typos.py` compares them with those of the imported factory, for every part that is installed.
    """
    if not isinstance(factory, str):
        return _parameters(factory)
    module, _, name = factory.partition(":")
    return None if "." in name else _read(module, name)


def _parameters(factory: object) -> frozenset[str] | None:
    parameters = inspect.signature(factory).parameters.values()  # type: ignore[arg-type]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def _read(module: str, name: str) -> frozenset[str] | None:
    tree = _tree(module)
    for node in tree.body if tree is not None else ():
        match node:
            case ast.FunctionDef(name=found) if found == name:
                return None if node.decorator_list else _arguments(node.args, skip=0)
            case ast.ClassDef(name=found) if found == name:
                return _fields(module, node)
            case ast.ImportFrom(module=str(origin), level=0):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return _read(origin, alias.name)
    return None


def _fields(module: str, node: ast.ClassDef) -> frozenset[str] | None:
    """What the class is made from: the arguments of its `__init__`, or the fields of an attrs or data class."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name in ("__init__", "__new__"):
            return _arguments(inner.args, skip=1)
    if node.keywords:
        return None
    decorators = {_name(each.func if isinstance(each, ast.Call) else each) for each in node.decorator_list}
    inherited: frozenset[str] = frozenset()
    for base in node.bases:
        name = _name(base.value if isinstance(base, ast.Subscript) else base)
        if name in _EMPTY_BASES:
            continue
        found = _read(module, name) if name else None
        if found is None:
            return None
        inherited |= found
    if not decorators:
        return inherited
    if not decorators <= _ATTRS:
        return None
    own = {*_own_fields(node)}
    return None if None in own else inherited | {name for name in own if name is not None}


def _own_fields(node: ast.ClassDef) -> Iterator[str | None]:
    """Names of the fields that are arguments; None for one that the text does not tell about."""
    for inner in node.body:
        if not isinstance(inner, ast.AnnAssign) or not isinstance(inner.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(inner.annotation):
            continue
        settings = inner.value.keywords if isinstance(inner.value, ast.Call) else []
        named = {keyword.arg: keyword.value for keyword in settings}
        if "alias" in named or None in named:
            yield None
        elif not ("init" in named and getattr(named["init"], "value", True) is False):
            yield inner.target.id.lstrip("_")


def _arguments(arguments: ast.arguments, skip: int) -> frozenset[str] | None:
    if arguments.kwarg is not None:
        return None
    every = [*arguments.posonlyargs, *arguments.args][skip:] + arguments.kwonlyargs
    return frozenset(argument.arg for argument in every)


def _name(node: ast.expr) -> str:
    """The last part of a dotted name."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


@lru_cache(maxsize=64)
def _tree(module: str) -> ast.Module | None:
    """The syntax of a module, whose packages are not imported for it."""
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    roots = [Path(root) for root in spec.submodule_search_locations or ()]
    files = [path for root in roots for path in _files(root, inner)] if inner else [Path(spec.origin or "")]
    for path in files:
        if path.is_file():
            return ast.parse(path.read_text(encoding="utf-8"))
    return None


def _files(root: Path, inner: list[str]) -> tuple[Path, Path]:
    return root.joinpath(*inner).with_suffix(".py"), root.joinpath(*inner, "__init__.py")
