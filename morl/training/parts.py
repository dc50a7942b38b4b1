"""The former place of `morl.runtime.parts`; plugins import from it."""

from morl.runtime.parts import Given, Parts, build, build_parts

__all__ = ["Given", "Parts", "build", "build_parts"]
