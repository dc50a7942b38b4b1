"""A factory's options, read from its source text: neither a typo nor `--help` need wait until PyTorch is imported."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from docstring_parser import parse as parse_docstring

from morl.hookspecs import Factory

_ATTRS = {"define", "frozen", "mutable", "dataclass"}
_EMPTY_BASES = {"Protocol", "Generic", "object", "ABC"}
_EMPTY = {"dict": "{}", "list": "[]", "tuple": "()"}


@frozen
class Declared:
    """An option as its factory declares it.

    Attributes:
        name: of the option.
        type: the annotation as written; empty where there is none.
        default: the expression as written; None where the option is required.
        meaning: from the docstring; empty where that says nothing.
    """

    name: str
    type: str = ""
    default: str | None = None
    meaning: str = ""


def declared_options(factory: Factory) -> frozenset[str] | None:
    """The names of a factory's options; None where its text alone does not tell, and it has to be imported.

    `tests/config/test_typos.py` compares them with those of the imported factory, for every part that is installed.
    """
    found = read_options(factory)
    return None if found is None else frozenset(found)


def read_options(factory: Factory) -> Mapping[str, Declared] | None:
    """A factory's options by name, in their order; None where its text alone does not tell."""
    if not isinstance(factory, str):
        return parameters_of(factory)
    module, _, name = factory.partition(":")
    return None if "." in name else _read(module, name)


def parameters_of(factory: Callable[..., Any]) -> Mapping[str, Declared] | None:
    """The same of a factory that is imported; None where it takes any keyword."""
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    sources = factory.__mro__[:-1] if inspect.isclass(factory) else (factory,)
    meanings = {name: text for source in reversed(sources) for name, text in _meanings(inspect.getdoc(source)).items()}
    return {
        each.name: Declared(
            each.name,
            "" if each.annotation is each.empty else inspect.formatannotation(each.annotation).strip("'"),
            None if each.default is each.empty else repr(each.default),
            meanings.get(each.name, ""),
        )
        for each in parameters
    }


def _read(module: str, name: str) -> dict[str, Declared] | None:
    tree = _tree(module)
    for node in tree.body if tree is not None else ():
        match node:
            case ast.FunctionDef(name=found) if found == name:
                return None if node.decorator_list else _documented(_arguments(module, node.args, skip=0), node)
            case ast.ClassDef(name=found) if found == name:
                return _fields(module, node)
            case ast.ImportFrom(module=str(origin), level=0):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return _read(origin, alias.name)
    return None


def _fields(module: str, node: ast.ClassDef) -> dict[str, Declared] | None:
    """What the class is made from: the arguments of its `__init__`, or the fields of an attrs or data class."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name in ("__init__", "__new__"):
            return _documented(_documented(_arguments(module, inner.args, skip=1), inner), node)
    if node.keywords:
        return None
    decorators = {_name(each.func if isinstance(each, ast.Call) else each) for each in node.decorator_list}
    options: dict[str, Declared] = {}
    for base in node.bases:
        name = _name(base.value if isinstance(base, ast.Subscript) else base)
        if name in _EMPTY_BASES:
            continue
        found = _read(module, name) if name else None
        if found is None:
            return None
        options = {**found, **options}
    if decorators:
        if not decorators <= _ATTRS:
            return None
        own = [*_own_fields(module, node)]
        if None in own:
            return None
        options |= {option.name: option for option in own if option is not None}
    return _documented(options, node)


def _own_fields(module: str, node: ast.ClassDef) -> Iterator[Declared | None]:
    """The fields that are arguments; None for one that the text does not tell about."""
    for inner in node.body:
        if not isinstance(inner, ast.AnnAssign) or not isinstance(inner.target, ast.Name):
            continue
        type_ = ast.unparse(inner.annotation)
        if "ClassVar" in type_:
            continue
        made = inner.value if isinstance(inner.value, ast.Call) and _name(inner.value.func) in ("field", "ib") else None
        named = {keyword.arg: keyword.value for keyword in made.keywords} if made is not None else {}
        if "alias" in named or None in named:
            yield None
        elif not ("init" in named and getattr(named["init"], "value", True) is False):
            default = named.get("default") if made is not None else inner.value
            text = _expression(module, default)
            for key in ("factory", "default_factory"):
                if key in named:
                    text = _EMPTY.get(_name(named[key]), "..")
            yield Declared(inner.target.id.lstrip("_"), _resolved(module, inner.annotation), text)


def _arguments(module: str, arguments: ast.arguments, skip: int) -> dict[str, Declared] | None:
    if arguments.kwarg is not None:
        return None
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    every = zip(positional, [*defaults, *arguments.defaults], strict=True)
    pairs = [*[*every][skip:], *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return {
        argument.arg: Declared(
            argument.arg,
            "" if argument.annotation is None else _resolved(module, argument.annotation),
            _expression(module, default),
        )
        for argument, default in pairs
    }


def _documented(
    options: dict[str, Declared] | None, node: ast.ClassDef | ast.FunctionDef
) -> dict[str, Declared] | None:
    """With what the docstring says of them, where they have none yet or this class says it anew."""
    if options is None:
        return None
    meanings = _meanings(ast.get_docstring(node))
    return {name: evolve(each, meaning=meanings.get(name) or each.meaning) for name, each in options.items()}


def _meanings(docstring: str | None) -> dict[str, str]:
    found = parse_docstring(docstring or "").params
    return {each.arg_name: " ".join((each.description or "").split()) for each in found}


def _expression(module: str, node: ast.expr | None) -> str | None:
    """A default as written; the constant of the module that it names, where it does."""
    if node is None:
        return None
    if isinstance(node, ast.Name) and (value := _assigned(module, node.id)) is not None:
        return ast.unparse(value)
    return ast.unparse(node)


def _resolved(module: str, node: ast.expr) -> str:
    """An annotation as written, but with aliases of choices spelt out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value

    class Aliases(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.expr:
            alias = _assigned(module, name.id)
            return alias if isinstance(alias, ast.Subscript | ast.BinOp) else name

    return ast.unparse(Aliases().visit(ast.parse(ast.unparse(node), mode="eval").body))


@lru_cache(maxsize=256)
def _assigned(module: str, name: str) -> ast.expr | None:
    """The expression that a module gives a name at its top, or the module that it is imported from."""
    tree = _tree(module) if module.split(".")[0] not in ("typing", "collections", "torch", "builtins") else None
    for node in tree.body if tree is not None else ():
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return value
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value) if found == name:
                return value
            case ast.ImportFrom(module=str(origin), level=0):
                if any((alias.asname or alias.name) == name for alias in node.names):
                    return _assigned(origin, name)
    return None


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
