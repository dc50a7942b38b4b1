"""What the base distribution leaves out, by extra: `pyproject.toml` says the versions, and a test compares the two.

The base is for other trainers, whose pins exclude some of these; see `docs/how-to/estimators-elsewhere.md`.
"""

from __future__ import annotations

from collections.abc import Mapping

from morl._version import DISTRIBUTION

EXTRAS: Mapping[str, frozenset[str]] = {
    "report": frozenset({"jinja2", "markupsafe", "matplotlib", "numpy", "scipy", "yaml"}),
    "testing": frozenset({"hypothesis", "jinja2", "numpy", "pytest"}),
    "template": frozenset({"copier"}),
    "evaluate": frozenset(
        {
            "datasets",
            "docstring_parser",
            "filelock",
            "huggingface_hub",
            "jinja2",
            "jsonargparse",
            "lightning",
            "lightning_utilities",
            "numpy",
            "packaging",
            "regex",
            "rich",
            "scipy",
            "tokenizers",
            "transformers",
            "yaml",
        }
    ),
    "train": frozenset({"tensorboard"}),
    "lora": frozenset({"peft"}),
    "quantised": frozenset({"bitsandbytes"}),
    "structured": frozenset({"llguidance"}),
    "wandb": frozenset({"wandb"}),
    "mlflow": frozenset({"mlflow", "pandas"}),
    "trl": frozenset({"trl"}),
}
"""Extra -> the modules that it brings and morl imports; what an extra includes of another stands with the other."""


def what_to_install(error: ModuleNotFoundError, what: str, extra: str = "train") -> str | None:
    """One line for the user, where the module that was not found is one that an extra brings.

    Args:
        error: as Python raised it.
        what: needs the module, as the line calls it.
        extra: that `what` needs as a whole.  Another one is named where it alone brings the module.
    """
    module = (error.name or "").partition(".")[0]
    bringing = [name for name, modules in EXTRAS.items() if module in modules]
    if not bringing:
        return None
    if extra not in bringing and (extra != "train" or "evaluate" not in bringing):
        extra = bringing[0]
    needed = "the trainer" if extra == "train" else f"the extra `{extra}`"
    install = f"pip install '{DISTRIBUTION}[{extra}]'"
    return f"{what} needs {needed}, and {module} is not installed; install it with: {install}"
