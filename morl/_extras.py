"""What the base distribution leaves out: the trainer's needs are the extra `train`.

The base is for other trainers, whose pins exclude some of these; see `docs/how-to/estimators-elsewhere.md`.
"""

from __future__ import annotations

from morl._version import DISTRIBUTION

TRAINER = frozenset(
    {
        "datasets",
        "docstring_parser",
        "filelock",
        "jsonargparse",
        "lightning",
        "lightning_utilities",
        "numpy",
        "regex",
        "rich",
        "scipy",
        "tensorboard",
        "transformers",
        "yaml",
    }
)
"""Modules that the extra brings."""


def what_to_install(error: ModuleNotFoundError, what: str) -> str | None:
    """One line for the user, where the module that was not found is one of the trainer's.

    Args:
        error: as Python raised it.
        what: needs the module, as the line calls it.
    """
    module = (error.name or "").partition(".")[0]
    if module not in TRAINER:
        return None
    return (
        f"{what} needs the trainer, and {module} is not installed; install it with: pip install '{DISTRIBUTION}[train]'"
    )
