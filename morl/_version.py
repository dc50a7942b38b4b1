"""The one place that names the distribution and its version; the build reads the version from here."""

DISTRIBUTION = "morl-llm"
"""What pip calls morl.  The name `morl` itself belongs to somebody else on PyPI."""

__version__ = "0.2.0"
