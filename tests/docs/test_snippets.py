"""Every snippet in the documentation does what it says.

A document is played from top to bottom in an empty folder: files are written, Python runs, YAML is parsed as the config
that it is or belongs to, `morl` commands are carried out.  What a snippet is follows from its language and from a
comment on the line before it:

    <!-- file: NAME -->     the content of a file of the reader's
    <!-- quote: PATH -->    taken from a file of this repository, to the letter but for its indentation
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import shlex
import textwrap
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from morl.cli import main
from morl.config import yaml12
from morl.config.load import merge, parse, read_configs, read_yaml
from morl.diagnosis.arguments import read_arguments as read_diagnosis
from morl.errors import ConfigError, PluginError
from morl.evaluation.arguments import read_arguments
from morl.evaluation.resolve import resolve
from morl.export.command import export_parser
from morl.plugins import Registry
from morl.runtime.checks import check_settings
from morl.runtime.parts import build_parts

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "plugins/*/*.md", "recipes/*.md")
    for path in ROOT.glob(pattern)
)
TRAINED = (
    "docs/tutorial/getting-started.md",
    "docs/tutorial/writing-a-plugin.md",
    "docs/how-to/train-from-python.md",
    "docs/how-to/coming-from-trl.md",
)
"""Their `morl train` commands really train, but for those of examples/; those of other documents are parsed only."""
SLOW = (*TRAINED, "docs/how-to/rollout-backend.md")

_BLOCK = re.compile(
    r"(?:^<!-- (?P<kind>file|quote): (?P<path>\S+) -->\n\n?)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_GENERATED = re.compile(r"<!-- begin ([\w-]+) -->.*?<!-- end \1 -->", re.DOTALL)
CONFIG = """\
policy: {path: model}
prompts: {path: prompts.jsonl}
rewards:
  correct: {name: exact-match, column: answer}
  short: {name: length, limit: 8}
"""
"""What documents call `config.yaml` without showing it."""

_HARMLESS = (".", "git", "cd", "ls", "cat", "python", "tensorboard", "srun", "mkdir")


@frozen
class Block:
    """A fenced block."""

    language: str
    text: str
    line: int
    kind: str | None
    path: str | None


def blocks(document: str) -> list[Block]:
    """The blocks of a document, without the generated ones, which a test of their own compares."""
    text = _GENERATED.sub(lambda match: "\n" * match[0].count("\n"), (ROOT / document).read_text(encoding="utf-8"))
    return [
        Block(found["language"], found["text"], text.count("\n", 0, found.start()) + 1, found["kind"], found["path"])
        for found in _BLOCK.finditer(text)
    ]


class Reader:
    """Somebody who follows a document in an empty folder."""

    def __init__(self, document: str, model: Path) -> None:
        self.document = document
        self.model = model
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def play(self) -> None:
        for block in blocks(self.document):
            try:
                self._play(block)
            except BaseException as error:
                error.add_note(f"in the snippet at {self.document}:{block.line}")
                raise

    def _play(self, block: Block) -> None:
        if block.kind == "quote":
            source = (ROOT / (block.path or "")).read_text(encoding="utf-8")
            # Methods are shown without the indentation of their class.
            shown = (textwrap.indent(block.text, " " * depth).strip("\n") for depth in (0, 4))
            assert any(f"\n{text}\n" in source for text in shown), f"{block.path} does not contain this text"
            return
        if block.kind == "file":
            path = Path(block.path or "")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        match block.language:
            case "python" if block.text.startswith(">>>"):
                self._doctest(block)
            case "python":
                code = compile(block.text, f"{self.document}:{block.line}", "exec")
                if block.kind is None:
                    exec(code, self.names)
            case "yaml":
                self._config(yaml12.load(block.text))
            case "toml":
                tomllib.loads(block.text)
            case "json":
                json.loads(block.text)
            case "console":
                self._console(block.text)
            case other:
                assert other in ("", "text", "bibtex", "py"), f"a block of unknown language {other!r}"

    def _doctest(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(block.text, self.names, self.document, self.document, block.line)
        report = io.StringIO()
        flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
        runner = doctest.DocTestRunner(optionflags=flags)
        runner.run(test, out=report.write, clear_globs=False)
        self.names.update(test.globs)
        assert runner.failures == 0, report.getvalue()

    def _config(self, tree: dict[str, Any]) -> None:
        """A whole config, or sections of one: what is missing is filled in."""
        base: dict[str, Any] = {"policy": {"path": str(self.model)}, "prompts": {"path": "prompts.jsonl"}}
        tree = {**base, **tree}
        conditions = tree.get("estimator", {}).get("conditions", {})
        named = {*conditions, *(condition["on"] for condition in conditions.values())} or {"brief"}
        tree.setdefault("rewards", {name: {"name": "length", "limit": 8} for name in sorted(named)})
        registry = Registry()
        config = parse(tree, registry)
        # An engine is a heavy thing to install for the sake of a document; its options are checked all the same.
        if config.rollout.name != "vllm" or find_spec("vllm") is not None:
            check_settings(config, build_parts(config, registry))

    def _console(self, text: str) -> None:
        commands = re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)
        assert commands[0] == "", "a console block begins with `$ `"
        for command in commands[1:]:
            line, _, expected = command.partition("\n")
            printed = " ".join(self._command(shlex.split(line, comments=True), "error:" in expected).split())
            for part in filter(None, (" ".join(shown.split()) for shown in expected.splitlines())):
                assert part in printed, f"`{line}` did not print {part!r} but {printed!r}"

    def _command(self, words: list[str], fails: bool) -> str:
        while "=" in words[0]:  # variables of the environment
            words = words[1:]
        words[0] = words[0].removeprefix(".venv/bin/")
        if words[0] == "torchrun" or words[:2] == ["srun", "python"]:
            words = ["morl", *words[words.index("morl") + 1 :]]
        match words:
            case ["morl", "compare", path, *_]:
                if not Path(path).exists():
                    Path(path).write_text(CONFIG, encoding="utf-8")
                # Checks every cell as far as can be done without running any.
                return self._morl([*words[1:], "--report_only"], fails)
            case ["morl", "evaluate", str(run), *options] if run.startswith("runs/") and "--help" not in options:
                read_arguments(options)  # a run, which brings its config
            case ["morl", "diagnose", *arguments]:
                # All that is checked before a policy is loaded; tests/diagnosis samples.
                _, tree, rest = read_configs(arguments)
                self._config(merge(tree, read_diagnosis(rest).overrides))
            case ["morl", "evaluate", *arguments] if "--help" not in arguments:
                self._evaluate(arguments)
            case ["morl", "export", str(run), *options]:
                assert "/" in run, "a run folder"
                _, overrides = export_parser().read(options)
                self._config(self._filled([*overrides]))
            case ["morl", "estimators", "compare", str(path)] if not path.startswith("--"):
                assert "/" in path, "a run folder"
            case ["morl", "report" | "explain" | "replay" | "audit", str(run), *_] if run.startswith("runs/"):
                pass  # a run folder of the reader's; tests/report reads some
            case ["morl", "estimators" | "analyze", *_]:
                return self._morl(words[1:], fails)
            case ["morl", "plugins", "doctor", str(plugin)] if Path(plugin).is_dir():
                pass  # written by `morl new-plugin` a line before; tests/authoring installs such plugins
            case ["morl", "new-plugin", *_] | ["morl", "plugins", "doctor", *_]:
                return self._morl(words[1:], fails)
            case ["morl", "train", *options] if any(word.startswith("--help=") for word in options):
                return self._morl(words[1:], fails)
            case ["morl", "train", *_, "--help" | "--print_config"] | ["morl", "plugins" | "--version" | "--help"]:
                return self._morl(words[1:], fails)
            case ["morl", "train" | "resume", path, *_] if self._trains(path):
                return self._morl(words[1:], fails)
            case ["morl", "train", path, *overrides]:
                if Path(path).is_file():
                    _, tree, overrides = read_configs(words[2:])
                    self._config(merge(tree, overrides))
                else:
                    self._config(self._filled(overrides))
            case ["morl", "resume", _, *overrides]:
                self._config(self._filled(overrides))
            case ["sbatch", *arguments]:
                at = next(n for n, word in enumerate(arguments) if not word.startswith("--"))
                assert (ROOT / arguments[at]).is_file(), f"no script {arguments[at]}"
                self._config(self._filled(arguments[at + 3 :]))
            case ["make", target, *_]:
                assert f"\n{target}: " in (ROOT / "Makefile").read_text(), f"no target {target!r} in the Makefile"
            case ["pip", "install", *what]:
                for path in (word.partition("[")[0] for word in what if word.startswith(".")):
                    assert (ROOT / path / "pyproject.toml").is_file(), f"nothing to install at {path}"
            case [program, *_]:
                assert program in _HARMLESS, f"no test knows the command {program!r}"
        return ""

    def _evaluate(self, arguments: list[str]) -> None:
        """All that is checked before a model is loaded; the reader's model stands for whichever is named."""
        _, tree, (_, *rest) = read_configs(arguments)
        asked = read_arguments(rest)
        registry = Registry()
        config = resolve(merge(tree, asked.overrides), str(self.model), asked.measures, registry)
        check_settings(config, build_parts(config, registry))

    def _trains(self, path: str) -> bool:
        return self.document in TRAINED and Path(path).exists() and not path.startswith("examples/")

    def _filled(self, overrides: list[str]) -> dict[str, Any]:
        return merge(yaml12.load(CONFIG), overrides)

    def _morl(self, arguments: list[str], fails: bool) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = main(arguments)
        assert code == (2 if fails else 0), f"`morl {' '.join(arguments)}` exited with {code}: {printed.getvalue()}"
        return printed.getvalue()


@pytest.fixture(scope="session")
def made_policies(tmp_path_factory):
    """The playground's policies are made once for all documents, and not in the user's own cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    "document", [pytest.param(d, marks=[pytest.mark.slow] if d in SLOW else []) for d in DOCUMENTS]
)
def test_a_reader_can_follow_it(document, tmp_path, tiny_model, made_policies, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(made_policies))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("MORL_ROLLOUT_KEY", "what the reader of morl-vllm's README exports")
    for folder in ("examples", "recipes", "studies"):
        os.symlink(ROOT / folder, folder)
    Path("model").symlink_to(tiny_model)
    rows = [{"prompt": f"what is {n} + 1", "answer": str(n + 1)} for n in range(16)]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("config.yaml").write_text(CONFIG)
    Reader(document, tiny_model).play()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_its_links_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://")):
            assert (ROOT / document).parent.joinpath(target).exists(), f"{document} links to {target}"


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.yaml")))
def test_every_example_is_a_config_that_can_run(example):
    registry = Registry()
    config = parse(read_yaml(ROOT / "examples" / example), registry)
    check_settings(config, build_parts(config, registry))


def test_a_wrong_snippet_is_found(tmp_path, tiny_model, monkeypatch):
    """The reader of these tests notices what a real one would."""
    monkeypatch.chdir(tmp_path)
    reader = Reader("README.md", tiny_model)

    def block(language, text, kind=None, path=None):
        return Block(language, textwrap.dedent(text), 1, kind, path)

    for error, wrong in (
        (ZeroDivisionError, block("python", "1 / 0")),
        (AssertionError, block("python", ">>> 1 + 1\n3\n")),
        (PluginError, block("yaml", "estimator: {name: gdop}")),
        (ConfigError, block("yaml", "training: {group_sise: 4}")),
        (ConfigError, block("console", "$ morl train config.yaml --estimator.epps=1\n")),
        (AssertionError, block("console", "$ morl --version\nmorl 99\n")),
        (AssertionError, block("console", "$ make tests\n")),
        (AssertionError, block("console", "$ rm -r runs\n")),
        (AssertionError, block("python", "no such line\n", "quote", "morl/cli.py")),
    ):
        with pytest.raises(error):
            reader._play(wrong)
