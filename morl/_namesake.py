"""The distribution `morl` on PyPI is somebody else's, and brings a module `morl` of its own.

Installed beside `morl-llm`, it replaces `morl/__init__.py`, or hides the whole package from an editable install; pip
does not mind.  Where that can be told, it is.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from morl._version import DISTRIBUTION

NAMESAKE = "morl"


def found() -> str | None:
    """What is wrong and what to do, if a distribution called `morl` is installed; it may also be ours, of old."""
    try:
        other = version(NAMESAKE)
    except PackageNotFoundError:
        return None
    return (
        f"the distribution {NAMESAKE} {other} is installed beside {DISTRIBUTION}; both have a module 'morl', of which"
        f" one replaces the other. Run: pip uninstall --yes {NAMESAKE}, then install {DISTRIBUTION} again, with"
        " --force-reinstall --no-deps"
    )


def hides_us() -> bool:
    """Whether `import morl` gives a module that is not ours."""
    return "train" not in getattr(sys.modules["morl"], "__all__", ())
