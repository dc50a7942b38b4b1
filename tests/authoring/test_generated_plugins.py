"""A plugin of every kind, as `morl new-plugin` writes it, passes its own tests once it is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from morl.authoring.kinds import KINDS
from morl.cli import main


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> dict[str, Path]:
    """Kind -> folder of a new plugin."""
    folder = tmp_path_factory.mktemp("generated")
    made = {kind: folder / f"morl-brand-new-{kind}" for kind in KINDS}
    for kind, path in made.items():
        assert main(["new-plugin", path.name, f"--kind={kind}", f"--output={path}"]) == 0
    return made


@pytest.fixture(scope="module")
def python(generated, tmp_path_factory) -> Path:
    """An environment with what is installed here and all new plugins, installed with pip as their READMEs say."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (inner,) = folder.glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (inner / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    python = folder / "bin" / "python"
    editable = [word for path in generated.values() for word in ("-e", str(path))]
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "--python", str(python), "install", *flags, *editable)
    return python


def run(*command: str | Path, cwd: Path | None = None, code: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONPATH"))}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_what_is_written_is_linted_and_formatted(generated):
    for path in generated.values():
        run(sys.executable, "-m", "ruff", "check", ".", cwd=path)
        run(sys.executable, "-m", "ruff", "format", "--check", ".", cwd=path)


@pytest.mark.slow
def test_every_kind_passes_its_own_tests_and_the_doctor_finds_nothing(generated, python):
    said = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(path / "tests" for path in generated.values()))
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said
    said = run(python, "-m", "morl", "plugins", "doctor", *(path.name for path in generated.values()))
    assert f"\n{len(KINDS)} plugins, no errors\n" in said
    assert "  note  " not in said, said
