"""Which verifiers is installed, checked before it is imported, which takes seconds."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from packaging.specifiers import SpecifierSet

from morl.errors import ConfigError

TESTED = ">=0.4,<0.5"
"""Versions this plugin was tested with; 0.4 is the first with tasks that can be scored without a harness."""


def installed_version() -> str | None:
    """None where it is not installed."""
    try:
        return version("verifiers")
    except PackageNotFoundError:
        return None


def require_verifiers(found: str | None) -> None:
    """Refuses a verifiers that is missing, or of a version that was not tested.

    Args:
        found: as `installed_version` says.

    Raises:
        ConfigError: names the extra to install.
    """
    install = "pip install 'morl-verifiers[verifiers]', in an environment of its own"
    if found is None:
        raise ConfigError(f"verifiers is not installed: {install}")
    if not SpecifierSet(TESTED, prereleases=True).contains(found):
        raise ConfigError(f"verifiers {found} is installed, tested: verifiers{TESTED}: {install}")
