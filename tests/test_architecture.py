"""What `docs/explanation/architecture.md` says of the packages is true: who imports whom, and how large modules are."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"

MEDIAN_LINES, MOST_LINES = 110, 400
LARGE_MODULES = {"morl.hookspecs": "the contract is one file, most of it what authors of plugins read"}
"""Modules above that -> why they stay whole."""
SCREEN = 60
"""Lines of a function, its docstring included, that one sees at once."""
LONG_FUNCTIONS = {
    "morl.integrations.trl.with_estimator": "it makes a class, whose methods are small",
    "morl.runtime.checks.check_settings": "a list of independent checks, in the order of the config",
    "morl.testing.strategies.reward_matrices": "half of it documents the options",
    "morl.training.run.train": "half of it documents the arguments",
}
"""Functions over a screen -> why they stay whole."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted((ROOT / "morl").rglob("*.py"))}


def imports(name: str, source: str, modules: Mapping[str, object]) -> Iterator[str]:
    """The modules of morl that a module imports, anywhere in it.

    Imports within functions count as well: they are late, not absent.  So do texts that name a module, or a thing in it
    (`morl.loss:ClippedLoss`), for somebody imports what they name.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "morl":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "morl")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            target = node.value.partition(":")[0]
            if target in modules and "." in target and target != name:
                yield target


def package(module: str) -> str:
    """`training` of `morl.training.run`; `morl` itself for what stands in its `__init__`."""
    return module.split(".")[1] if "." in module else module


GRAPH = {
    name: {target for target in imports(name, path.read_text(encoding="utf-8"), MODULES) if target != name}
    for name, path in MODULES.items()
}


def documented() -> dict[str, set[str]]:
    """The table of the page: package -> the packages that it may import."""
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `morl/([\w/]+)(?:\.py)?/?` \|.*\|([^|]*)\|$", text, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", allowed)) for name, allowed in rows}


ALLOWED = documented()
FREE = {"morl", "__main__"}
"""The public names of `import morl`, which are loaded when they are first used, and `python -m morl`."""


def test_the_table_lists_every_package_and_no_other():
    assert set(ALLOWED) == {package(module) for module in MODULES} - FREE


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_a_package_imports_what_the_table_allows_and_no_less(name):
    used = {package(target) for module, found in GRAPH.items() if package(module) == name for target in found}
    assert used - {name} == ALLOWED[name]


def test_nobody_imports_the_command_line_or_the_public_names():
    for module, found in GRAPH.items():
        assert package(module) in FREE or not {"morl", "morl.cli"} & found, module


def test_the_table_has_no_circle_and_names_lower_packages_first():
    order = list(ALLOWED)
    for name, allowed in ALLOWED.items():
        assert all(order.index(other) < order.index(name) for other in allowed), name


def test_no_module_imports_itself_by_a_detour():
    """A package's `__init__` gathers names of its modules, which import each other directly."""
    inner = {name: {t for t in found if t != package_root(name)} for name, found in GRAPH.items()}
    try:
        tuple(TopologicalSorter(inner).static_order())
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(error.args[1])}")


def package_root(module: str) -> str:
    return module.rpartition(".")[0]


def test_formulas_need_torch_and_attrs_only():
    for name in MODULES:
        if package(name) in ("advantage", "loss"):
            tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
            roots = {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
            roots |= {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
            third_party = roots - {"morl", "torch", "attrs", "__future__"}
            assert third_party <= set(sys.stdlib_module_names), name


def test_the_core_imports_no_plugin():
    plugins = {path.name.replace("-", "_") for path in (ROOT / "plugins").iterdir()}
    for name, path in MODULES.items():
        assert not {p for p in plugins if re.search(rf"^\s*(?:from|import) {p}\b", path.read_text(), re.M)}, name


def test_modules_are_small():
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert median(sizes.values()) <= MEDIAN_LINES
    assert {name for name, size in sizes.items() if size > MOST_LINES} == set(LARGE_MODULES)


def test_functions_fit_a_screen_or_say_why_not():
    found = set()
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= SCREEN:
                found.add(f"{name}.{node.name}")
    assert found == set(LONG_FUNCTIONS)


def test_the_scan_sees_late_imports_and_texts():
    late = ["def f():", "    from morl import a", "    from morl.b import thing", "    return 'morl.c:Thing'"]
    found = imports("morl.d", "\n".join(["import morl.b", *late]), {"morl.a": 0, "morl.b": 0, "morl.c": 0})
    assert sorted(found) == ["morl.a", "morl.b", "morl.b", "morl.c"]
