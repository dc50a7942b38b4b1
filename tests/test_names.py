"""The distribution is `morl-llm`; the name `morl` on PyPI is somebody else's, and nothing here may ask pip for it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import morl
from morl._version import DISTRIBUTION, __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = sorted([ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")])
STRANGERS = "0.1.0"
"""The newest version of the stranger's package."""


def project(path: Path) -> dict:
    return tomllib.loads(path.read_text())["project"]


def requirements(path: Path) -> list[Requirement]:
    found = project(path)
    extras = found.get("optional-dependencies", {}).values()
    return [Requirement(line) for line in [*found["dependencies"], *(line for extra in extras for line in extra)]]


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name if path.parent != ROOT else DISTRIBUTION)
def test_no_project_requires_the_strangers(path):
    names = {requirement.name for requirement in requirements(path)}
    assert "morl" not in names
    assert project(path)["name"] != "morl"
    assert DISTRIBUTION in names  # of morl itself, in its extra `dev`


@pytest.mark.parametrize("path", PROJECTS[:-1], ids=lambda path: path.parent.name)
def test_plugins_require_a_version_that_the_strangers_never_had(path):
    (required,) = (found for found in requirements(path) if found.name == DISTRIBUTION and found.specifier)
    assert __version__ in required.specifier
    assert STRANGERS not in required.specifier


def test_the_project_has_the_name_that_morl_goes_by():
    assert project(ROOT / "pyproject.toml")["name"] == DISTRIBUTION
    assert PROJECTS[-1] == ROOT / "pyproject.toml"


def tells_to_install_the_strangers(text: str) -> list[str]:
    """What follows a `pip install` and is the bare name, with or without extras and versions."""
    words = [word for line in re.findall(r"pip install ([^\n`]*)", text) for word in re.split(r"[\s'\"()]+", line)]
    return [word for word in words if re.fullmatch(r"morl(\\?\[.*\]?)?([<>=~!].*)?", word)]


def test_nothing_tells_to_install_the_strangers():
    assert tells_to_install_the_strangers("`pip install 'morl[report]'` for morl, or pip install -U morl>=0.1") == [
        "morl[report]",
        "morl>=0.1",
    ]
    sources = [
        path
        for suffix in ("md", "py", "toml", "yaml")
        for folder in ("morl", "plugins", "docs", "benchmarks", "recipes", "studies", "examples", ".")
        for path in (ROOT.glob(f"*.{suffix}") if folder == "." else (ROOT / folder).rglob(f"*.{suffix}"))
    ]
    assert len(sources) > 200
    for path in sources:
        text = path.read_text(encoding="utf-8")
        assert not tells_to_install_the_strangers(text), path
        assert "pypi.org/project/morl/" not in text, path


@pytest.fixture
def python(tmp_path):
    """Runs Python with a folder first on its path, which a test fills; answers the exit code and what it said."""
    folder = tmp_path / "site"
    folder.mkdir()

    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, *arguments]
        environment = {"PYTHONPATH": str(folder)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
        return done.returncode, done.stdout + done.stderr

    run.folder = folder
    return run


def install_the_strangers(folder: Path) -> None:
    """Its metadata, as pip leaves it; the module is laid over ours by whoever asks for that."""
    information = folder / f"morl-{STRANGERS}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: morl\nVersion: {STRANGERS}\n")


def test_a_stranger_beside_us_is_told_on_import(python):
    assert python("-W", "error", "-c", "import morl") == (0, "")
    install_the_strangers(python.folder)
    code, said = python("-c", "import morl; print(morl.gdpo.__name__)")
    assert code == 0
    assert f"UserWarning: the distribution morl {STRANGERS} is installed beside {DISTRIBUTION}" in said
    assert "Run: pip uninstall --yes morl" in said
    assert said.startswith("gdpo")


def test_the_command_line_tells_that_a_stranger_took_our_place(python):
    """The stranger's wheel, installed after ours, leaves all of our modules but `morl/__init__.py`."""
    install_the_strangers(python.folder)
    package = python.folder / "morl"
    package.mkdir()
    for module in Path(morl.__file__).parent.iterdir():
        (package / module.name).symlink_to(module)
    (package / "__init__.py").unlink()
    (package / "__init__.py").write_text(f"__version__ = {STRANGERS!r}\n")
    code, said = python("-m", "morl", "plugins")
    assert code == 2
    assert said.startswith(f"error: the distribution morl {STRANGERS} is installed beside {DISTRIBUTION}; both have")


def script(name: str):
    """A module of `.ci/`."""
    specification = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "place", "wrong"),
    [
        ("morl-llm", ROOT.as_uri(), False),
        ("morl_llm", "https://example.org/morl_llm-9.0-py3-none-any.whl", True),
        ("morl", "https://example.org/morl-0.1.0-py3-none-any.whl", True),
        ("torch", "https://example.org/torch-2.13.0.whl", False),
    ],
)
def test_ci_sees_what_pip_would_take_from_an_index(name, place, wrong):
    item = {"metadata": {"name": name, "version": "9.0"}, "download_info": {"url": place}}
    assert bool(script("names").from_elsewhere({"install": [item]})) == wrong


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "https://a.example/simple"),
        (["--extra-index-url", "https://b.example/"], "https://a.example/simple, https://b.example/"),
        (["--index-url=https://u:secret@c.example/", "-v"], "https://c.example/"),
    ],
)
def test_make_says_where_packages_come_from(monkeypatch, flags, said):
    module = script("indexes")
    monkeypatch.setattr(module, "configured", lambda: iter([("index-url", "https://me:secret@a.example/simple")]))
    assert module.places(flags) == said
    monkeypatch.setattr(module, "configured", lambda: iter([("timeout", "60")]))
    assert module.places([]) == "PyPI"
