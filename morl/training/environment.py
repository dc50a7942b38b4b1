"""What a run ran on and with: `environment.json`."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from morl.config.record import describe
from morl.hookspecs import RewardProvider
from morl.isolation.importing import import_function
from morl.reward import FunctionReward
from morl.texts import texts_in

_LIBRARIES = ("numpy", "torch", "transformers", "lightning")
_BLOCK = 1 << 20


def environment(
    config: Mapping[str, Any],
    plugins: Mapping[str, str],
    providers: Iterable[RewardProvider] = (),
    objects: Mapping[str, Iterable[object]] | None = None,
) -> dict[str, Any]:
    """Versions, command, source, hardware, and the hashes of the files that the run reads.

    Args:
        config: of the run, in plain types; every file that it names is hashed.
        plugins: versions by distribution.
        providers: of rewards; the files that their functions or classes stand in are hashed, too.
        objects: others that were passed, and have no place in the config, by the name of the argument.
    """
    passed = {name: [describe(each) for each in group] for name, group in (objects or {}).items()}
    return {
        "python": platform.python_version(),
        "plugins": dict(plugins),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "command": shlex.join([sys.executable, *sys.orig_argv[1:]]),
        "working_directory": str(Path.cwd()),
        "source": {"working_directory": working_tree(Path.cwd()), "morl": _own_tree()},
        "hardware": hardware(),
        "files": file_hashes([*_named_files(config), *_source_files(providers)]),
        "passed": {name: group for name, group in passed.items() if group},
    }


def working_tree(folder: Path) -> dict[str, Any] | None:
    """Commit of the git working tree that a folder is in, and whether it has changes; None where there is no such tree.

    Files that git ignores, or does not know and that were not there at the commit, count as no change.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes)}


def _own_tree() -> dict[str, Any] | None:
    """The tree that morl itself is run from; an environment inside somebody else's tree is not part of it."""
    here = Path(__file__)
    tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    return None if tracked is None else working_tree(here.parent)


def hardware() -> dict[str, Any]:
    """The machine: processor, cores that this process may use, memory, accelerators."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    accelerators = []
    if torch.cuda.is_available():
        accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    elif torch.backends.mps.is_available():
        accelerators = ["Apple MPS"]
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores,
        "memory_gib": _memory_gib(),
        "accelerators": accelerators,
    }


def file_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by its path; of a folder, of each file in it."""
    found: dict[str, str] = {}
    for path in paths:
        files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        for file in files:
            if str(file) not in found:
                found[str(file)] = _sha256(file)
    return dict(sorted(found.items()))


def _named_files(config: Mapping[str, Any]) -> Iterator[Path]:
    """Files of data, rewards and templates, and folders of data, that a config names; not the model or the run."""
    prompts = [config.get("prompts"), (config.get("evaluation") or {}).get("prompts")]
    for text in texts_in(prompts):
        if _exists(text):
            yield Path(text)
    for text in texts_in([config.get("rewards"), config.get("environment"), config.get("trainer")]):
        # A function may follow the file's name.
        name = text.rpartition(":")[0] if ".py:" in text else text
        if _exists(name) and Path(name).is_file():
            yield Path(name)


def _exists(text: str) -> bool:
    """Whether it is a path of something; a text that is none may be of any length and hold anything."""
    try:
        return bool(text) and len(text) < 4096 and text not in (".", "..", "/") and Path(text).exists()
    except (OSError, ValueError):
        return False


def _source_files(providers: Iterable[RewardProvider]) -> Iterator[Path]:
    """Where functions and classes of the user stand; those of morl and its plugins have a version."""
    for provider in providers:
        found: Any = type(provider)
        if isinstance(provider, FunctionReward):
            function = provider.function
            found = import_function(function) if isinstance(function, str) else function
        elif found.__module__.startswith("morl"):
            continue
        try:
            source = inspect.getsourcefile(inspect.unwrap(found)) or inspect.getsourcefile(type(found))
        except TypeError:  # made in an interactive session, or an object that can be called
            continue
        if source is not None and Path(source).is_file():
            yield Path(source)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where there is no git, or no working tree."""
    # Variables of a git hook would point to another tree.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
