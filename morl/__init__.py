"""morl: train language models on several rewards at once."""

from morl._version import __version__

__all__ = ["__version__"]
