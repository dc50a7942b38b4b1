"""Fixtures for all tests: a tiny model folder in Hugging Face form, a browser, and real data if it is there."""

from __future__ import annotations

import itertools
import logging
import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from browser import Browser, find_chromium

from morl.testing import models

_COUNTER = itertools.count()


@pytest.fixture(autouse=True)
def _logging_is_left_as_it_was() -> Iterator[None]:
    """A test that silences morl's log spoils those that read it, of another file and in some orders alone."""
    logger = logging.getLogger("morl")
    before = (logger.level, logger.disabled, logger.propagate, logging.root.manager.disable)
    yield
    assert (logger.level, logger.disabled, logger.propagate, logging.root.manager.disable) == before


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that `AutoModelForCausalLM` and `AutoTokenizer` load: 2 layers, 32 wide, byte-level vocabulary."""
    return models.tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def make_model_folder():
    """`make_model_folder(folder, text=..., vocabulary=..., **config)`: another tiny model, with its own vocabulary."""
    return models.tiny_model


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets beside the checkout; a clone without them skips, and self-made data covers the same code."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside this checkout")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium.  Without one these tests are skipped; with `MORL_BROWSER=required`, as in CI, they fail."""
    chromium = find_chromium()
    if chromium is None:
        reason = "no Chromium: install it (Debian: apt-get install chromium), or name one in MORL_CHROMIUM"
        if os.environ.get("MORL_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    with Browser.started(chromium) as running:
        yield running


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a distribution with one entry point of the group `morl` on the path, as pip would."""

    def install(name: str, code: str, version: str = "1.0", *, requires: Sequence[str] = ()) -> Path:
        folder: Path = tmp_path / name
        module = f"{name.replace('-', '_')}_{next(_COUNTER)}"  # sys.modules outlives a test
        information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        information.mkdir(parents=True)
        required = "".join(f"Requires-Dist: {line}\n" for line in requires)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}")
        (information / "entry_points.txt").write_text(f"[morl]\n{name} = {module}\n")
        (folder / f"{module}.py").write_text("from morl.hookspecs import hookimpl\n" + textwrap.dedent(code))
        monkeypatch.syspath_prepend(str(folder))
        return folder

    return install
