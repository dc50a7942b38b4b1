"""`morl new-plugin`: a distribution that passes its own tests, to be changed into one's own."""

from __future__ import annotations

import json
import keyword
import re
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from morl._version import DISTRIBUTION, __version__
from morl.authoring.kinds import KINDS
from morl.console import Parser, wants_help
from morl.errors import ConfigError, suggest
from morl.plugins import Registry

HELP = f"""\
usage: morl new-plugin NAME --kind=KIND [--output=FOLDER]

Writes a plugin as a distribution of its own: an entry point, an example of the kind, tests that hold it to morl's
contract, an example config, a README, a CI file and a licence.  It passes its tests as it is; change the example into
yours.

  NAME       of the distribution, such as morl-politeness; the part is called the same without `morl-`
  --kind     {", ".join(KINDS)}
  --output   folder to make (./NAME)

Needs Copier: pip install '{DISTRIBUTION}[template]'.
"""

TEMPLATE = Path(__file__).parent / "template"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@frozen
class Naming:
    """What a plugin is called in each place."""

    distribution: str

    @property
    def package(self) -> str:
        """Of its modules."""
        return self.distribution.replace("-", "_")

    @property
    def part(self) -> str:
        """In configs."""
        return self.distribution.removeprefix("morl-")

    @property
    def cls(self) -> str:
        """Of its part."""
        return "".join(word.capitalize() for word in self.part.split("-"))


def new_plugin(arguments: list[str]) -> int:
    """The command; prints what to do next."""
    if wants_help(arguments) or not arguments:
        print(HELP, end="")
        return 0
    parser = Parser("new-plugin")
    parser.add_argument("name")
    parser.add_argument("--kind")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    if options.kind is None:
        raise ConfigError(f"morl new-plugin needs --kind=KIND, one of: {', '.join(KINDS)}")
    if options.kind not in KINDS:
        raise ConfigError(f"unknown kind {options.kind!r}{suggest(options.kind, KINDS)}; kinds: {', '.join(KINDS)}")
    naming = checked(options.name, options.kind)
    folder = options.output or Path(naming.distribution)
    write(naming, options.kind, folder)
    print(_next_steps(naming, folder))
    return 0


def write(naming: Naming, kind: str, folder: Path) -> None:
    """Writes the plugin.

    Raises:
        ConfigError: the folder holds something already, or Copier is not installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already and not empty; choose another with --output=FOLDER")
    try:
        from copier import run_copy
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`morl new-plugin` needs Copier, and {error.name} is not installed; install it with: pip install"
            f" '{DISTRIBUTION}[template]'"
        ) from error
    chosen = KINDS[kind]
    base = f"{DISTRIBUTION}[train]" if chosen.trainer else DISTRIBUTION
    answers = {
        "distribution": naming.distribution,
        "package": naming.package,
        "part": naming.part,
        "cls": naming.cls,
        "kind": kind,
        "kind_name": chosen.name,
        "hook": chosen.hook,
        "summary": chosen.summary,
        "claims": json.dumps(chosen.claims) if chosen.claims else "",
        "requirement": f"{base}>={'.'.join(__version__.split('.')[:2])}",
    }
    run_copy(str(TEMPLATE), folder, data=answers, defaults=True, quiet=True)


def checked(name: str, kind: str) -> Naming:
    """The name, where nothing is called so yet.

    Raises:
        ConfigError: no name, or one that is taken.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a plugin: lower-case words of letters and digits, joined by '-', such as"
            " morl-politeness"
        )
    naming = Naming(name)
    if name in ("morl", DISTRIBUTION) or not naming.part:
        raise ConfigError(f"{name!r} is morl itself; choose another name, such as morl-politeness")
    if any(map(keyword.iskeyword, (naming.package, naming.cls))) or not naming.cls.isidentifier():
        raise ConfigError(f"{name!r}: Python cannot have a module {naming.package!r} or a class {naming.cls!r}")
    if find_spec(naming.package) is not None:
        raise ConfigError(f"{name!r}: a module {naming.package!r} is installed already, which this one would hide")
    if naming.part.startswith("conditioned-") and kind == "estimator":
        raise ConfigError(f"{name!r}: names of estimators that begin with 'conditioned-' are morl's")
    if re.search(rf"\b{naming.cls}\b", "".join(file.read_text() for file in (TEMPLATE / "kinds" / kind).iterdir())):
        raise ConfigError(f"{name!r}: the example needs the name {naming.cls!r} itself; choose another NAME")
    for part in Registry().names(KINDS[kind].name):
        if part.name == naming.part:
            raise ConfigError(
                f"the {part.kind} {part.name!r} is there already, of {part.plugin.label}; choose another NAME"
            )
    return naming


def _next_steps(naming: Naming, folder: Path) -> str:
    return "\n".join(
        [
            f"{folder} is a plugin; next:",
            f"  cd {folder}",
            "  pip install -e '.[test]'",
            f"  morl plugins doctor {naming.distribution}",
            "  python -m pytest",
            "Then change the example into yours: README.md says where.",
        ]
    )
