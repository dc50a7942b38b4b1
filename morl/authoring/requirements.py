"""Whether what a plugin's distribution requires is installed, and what is missing where an import fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, requires, version

from packaging.requirements import Requirement

from morl._version import DISTRIBUTION
from morl.plugins import PluginInfo


def unmet(plugin: PluginInfo) -> Iterator[str]:
    """Requirements, without those of extras, that nothing installed meets."""
    for requirement in _requirements(plugin):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name == "morl":
            yield f"requires {requirement}, which is another project's; morl's distribution is {DISTRIBUTION}"
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield f"requires {requirement}, which is not installed"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"requires {requirement}; installed is {found}"


def installed_twice(plugin: PluginInfo) -> str | None:
    """The versions of a distribution that is there more than once, of which Python takes the first."""
    wanted = _normal(plugin.distribution)
    found = [each.version for each in distributions() if _normal(each.name or "") == wanted]
    return f"{plugin.distribution} is installed {len(found)} times: {', '.join(found)}" if len(found) > 1 else None


def to_install(plugin: PluginInfo, module: str) -> str:
    """What brings a module that was not found, as far as the plugin's requirements tell; else an empty text."""
    wanted = _normal(module.partition(".")[0])
    for requirement in _requirements(plugin):
        if _normal(requirement.name) == wanted:
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", str(requirement.marker or ""))
            what = f"{plugin.distribution}[{extra[1]}]" if extra else str(requirement)
            return f"; install it with: pip install '{what}'"
    return ""


def _requirements(plugin: PluginInfo) -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(plugin.distribution) or ()]
    except PackageNotFoundError:  # passed in, or found without metadata
        return []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
