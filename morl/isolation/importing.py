"""Finds a function by `package.module:function` or `path/to/file.py:function`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from morl.errors import ConfigError, suggest

_FILE = "morl_file_"
"""Begins the names of modules that were run from a file."""


def file_of(module: str) -> str | None:
    """The file that a module was run from, where `import_function` ran it; None for any other module."""
    return getattr(sys.modules.get(module), "__file__", None) if module.startswith(_FILE) else None


def import_function(path: str) -> Any:
    """The attribute that `path` names; a file is run once, however often it is named.

    Raises:
        ConfigError: a path of another form, a module or file that is missing or fails to import, a missing attribute.
    """
    if path.startswith("<"):
        raise ConfigError(
            f"{path} was given as an object, which a file cannot hold; give it again from Python, or name it as"
            " 'package.module:function' or 'path/to/file.py:function'"
        )
    location, separator, attribute = path.rpartition(":")
    if not separator or not location or not attribute:
        raise ConfigError(
            f"expected 'package.module:function' or 'path/to/file.py:function'; got {path!r}"
            + (f"; did you mean {_with_colon(path)!r}?" if "." in path.strip(".") else "")
        )
    module = _load_file(Path(location)) if location.endswith(".py") else _load_module(location)
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            known = [name for name in dir(found) if not name.startswith("_")]
            raise ConfigError(f"{location} has no {attribute!r}{suggest(part, known)}") from None
    return found


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{name} cannot be imported: {error}") from error
        raise ConfigError(
            f"there is no module {error.name!r} to import {name!r} from; is it installed, or do you mean a file"
            f" ('{name.replace('.', '/')}.py:...')?"
        ) from error
    except Exception as error:
        raise ConfigError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def _with_colon(path: str) -> str:
    return f"{path}:function" if path.endswith(".py") else ":".join(path.rsplit(".", 1))


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise ConfigError(f"there is no file {str(path)!r}{suggest(path.name, near)} (looked in {Path.cwd()})")
    resolved = str(path.resolve())
    # Two files of one name must not be taken for each other.
    name = f"{_FILE}{path.stem}_{hashlib.sha256(resolved.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
