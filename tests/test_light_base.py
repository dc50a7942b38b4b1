"""The base distribution and its extras: each command runs with what it says it needs, and says what is missing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from little_run import little_run, reading
from packaging.requirements import Requirement

from morl import _extras

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SECOND_HAND = {"filelock", "jinja2", "markupsafe", "packaging"}
"""What torch, matplotlib and pytest bring along: never missing, and declared where morl imports it all the same."""
BASE = {"attrs", "pluggy", "torch"}
ALL = frozenset().union(*_extras.EXTRAS.values())
MODULES = {"huggingface-hub": "huggingface_hub", "pyyaml": "yaml", "mlflow-skinny": "mlflow"}
"""Distribution -> module, where a hyphen for an underline is not all."""
PLACES = {
    "report": ("analysis", "artifacts", "report", "integrations"),
    "testing": ("testing", "authoring/pytest_plugin.py"),
    "template": ("authoring/new.py",),
}
"""What belongs to an extra that is not the trainer's."""


def blocker(allowed: str | None = None, but: tuple[str, ...] = ()) -> str:
    """As if nothing of the extras were installed, but `allowed`, and of it not `but`."""
    absent = ALL - (_extras.EXTRAS[allowed] if allowed else frozenset()) - SECOND_HAND | set(but)
    return f"""
import sys

class Absent:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in {sorted(absent)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def alone(code: str, *block: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", blocker(*block) + code], capture_output=True, text=True, check=False
    )


def commands(*calls: list[str]) -> str:
    """Code that runs commands of morl one after the other, with a line of their exit codes at the end."""
    return f"from morl.cli import main\nprint('codes', [main(call) for call in {list(calls)}])"


def required(extra: str) -> set[str]:
    """Modules that an extra asks for, and those of the extras that it names."""
    found = set()
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
        if requirement.name == "morl-llm":
            found |= set().union(*map(required, requirement.extras))
        else:
            found.add(MODULES.get(requirement.name, requirement.name.replace("-", "_")))
    return found - BASE


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere, but for annotations alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
        waiting += ast.iter_child_nodes(node)
    return {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {"morl", "attr"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return little_run(tmp_path_factory.mktemp("runs") / "mine")


def test_the_base_requires_three_packages_without_upper_bounds():
    base = [Requirement(line) for line in PROJECT["dependencies"]]
    assert {requirement.name for requirement in base} == BASE
    assert all(clause.operator == ">=" for requirement in base for clause in requirement.specifier)


@pytest.mark.parametrize("extra", sorted(_extras.EXTRAS))
def test_an_extra_requires_what_the_command_line_says_it_brings(extra):
    named = [*map(Requirement, PROJECT["optional-dependencies"][extra])]
    inherited = [name for requirement in named if requirement.name == "morl-llm" for name in requirement.extras]
    assert required(extra) == _extras.EXTRAS[extra].union(*map(required, inherited))


def test_what_is_imported_is_declared_by_the_base_or_by_the_extra_of_its_module():
    for path in (ROOT / "morl").rglob("*.py"):
        place = path.relative_to(ROOT / "morl")
        if "template" in place.parts:
            continue
        extras = [extra for extra, places in PLACES.items() if any(place.is_relative_to(each) for each in places)]
        declared = BASE.union(
            *(required(extra) for extra in extras or ["train", "lora", "quantised", "structured", "report"])
        )
        missing = imported(path) - {"attrs"} - declared - OPTIONAL.get(str(place), set())
        assert not missing, f"{place} imports {missing}; extras: {extras or 'train'}"


OPTIONAL = {
    # What the trainer that is running has.
    "integrations/trl.py": {"transformers", "trl"},
    "testing/models.py": {"tokenizers", "transformers"},
    "testing/requirements.py": {"numpy"},
}


def test_the_estimators_need_nothing_of_the_extras():
    code = "import torch, morl\nprint(morl.gdpo(torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]), eps=0).tolist())"
    done = alone(code)
    assert done.stdout == "[[-1.0, 1.0]]\n".replace("1.0", "0.7071067690849304"), done.stderr


def test_reading_a_run_needs_the_extra_report_alone(run):
    done = alone(commands(*reading(run)), "report")
    assert done.stdout.splitlines()[-1] == "codes [0, 0, 0, 0, 0, 0, 0]", done.stderr
    assert re.search(r"^ok +reward brief +\w", done.stdout, re.M), done.stdout
    assert "<svg" in (run / "report.html").read_text()


def test_estimators_are_compared_and_plugins_are_listed_on_the_base():
    done = alone(commands(["estimators", "compare"], ["plugins"]))
    assert done.stdout.splitlines()[-1] == "codes [0, 0]", done.stderr
    assert "\n  advantage estimator: " in done.stdout


def test_the_kit_for_estimators_needs_the_extra_testing_alone():
    code = "from morl import GDPO\nfrom morl.testing import check_advantage_estimator as check\n"
    done = alone(code + "check(GDPO, max_examples=2)\nprint('kept')", "testing")
    assert done.stdout == "kept\n", done.stderr


def test_commands_without_their_extras_say_what_to_install_in_one_line():
    needed = {
        **dict.fromkeys(("train", "resume", "compare", "export", "plugins"), "train"),
        **dict.fromkeys(("evaluate", "diagnose"), "evaluate"),
        **dict.fromkeys(("report", "explain", "audit", "replay", "analyze"), "report"),
        "new-plugin": "template",
    }
    arguments = {"plugins": ["doctor"], "new-plugin": ["morl-polite", "--kind=reward"]}
    done = alone(commands(*([name, *arguments.get(name, ["x"])] for name in needed)))
    assert done.stdout == f"codes {[2] * len(needed)}\n"
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for (name, extra), line in zip(needed.items(), errors, strict=True):
        what = {"train": "the trainer", "template": "Copier"}.get(extra, f"the extra `{extra}`")
        assert re.fullmatch(
            rf"error: `morl {name}` needs {what}, and \w+ is not installed; install it with: pip install"
            rf" 'morl-llm\[{extra}\]'",
            line,
        )


def test_the_report_without_matplotlib_says_what_to_install(run):
    done = alone(commands(["report", str(run)]), "report", ("matplotlib",))
    assert done.stderr.splitlines()[-1] == (
        "error: `morl report` needs the extra `report`, and matplotlib is not installed; install it with: pip install"
        " 'morl-llm[report]'"
    )


def test_a_public_name_of_the_trainer_says_so_too():
    done = alone("from morl import train")
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: morl.train needs the trainer, and ")


def test_a_part_of_morl_whose_module_is_missing_says_so_too():
    done = alone("from morl.plugins import Registry\nRegistry().find('rollout backend', 'transformers').load()")
    said = done.stderr.splitlines()[-1]
    assert "rollout backend 'transformers' of morl-llm " in said
    assert said.endswith(
        "needs the trainer, and transformers is not installed; install it with: pip install 'morl-llm[train]'"
    )


def test_a_module_of_somebody_else_is_not_blamed_on_the_extra():
    assert _extras.what_to_install(ModuleNotFoundError("x", name="sympy"), "`morl train`") is None
    assert _extras.what_to_install(ModuleNotFoundError("x"), "`morl train`") is None


def test_extras_are_those_that_are_installed_here():
    """Names of distributions are typed by hand; an installed one has the module that it is said to have."""
    for name in [name for name, module in MODULES.items() if module in required("train")]:
        try:
            files = distribution(name).files or ()
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed")
        assert any(file.parts[0] == MODULES[name] for file in files), name
