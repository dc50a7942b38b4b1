"""Characters in one form: digits of any script, dashes, signs of mathematics, powers and fractions in one character."""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"
_RAISED = re.compile(f"[{_SUPERSCRIPTS}]+")
_LOWERED = re.compile(f"[{_SUBSCRIPTS}]+")
_STACKED = re.compile(f"([{_SUPERSCRIPTS[:10]}]+)[/⁄]([{_SUBSCRIPTS}]+)")
_VULGAR = re.compile("[¼-¾⅐-⅞↉]")
_GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "omicron", "pi", "rho", "varsigma", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
)  # fmt: skip
_SYMBOLS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014\u2015\u2e3a\ufe58", "-"),  # minus sign and dashes
        **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u2061\u2062", ""),
        **dict.fromkeys("\u201c\u201d\u201e\u2018\u2019\u00b4", "'"),
        "\u00b7": r"\cdot ",
        "\u22c5": r"\cdot ",
        "\u2219": r"\cdot ",
        "\u00d7": r"\times ",
        "\u2715": r"\times ",
        "\u2217": "*",
        "\u00f7": r"\div ",
        "\u2215": "/",
        "\u2044": "/",
        "\u2236": ":",
        "\u221e": r"\infty ",
        "\u2208": r"\in ",
        "\u222a": r"\cup ",
        "\u2229": r"\cap ",
        "\u2216": r"\setminus ",
        "\u2205": r"\emptyset ",
        "\u2264": r"\le ",
        "\u2a7d": r"\le ",
        "\u2265": r"\ge ",
        "\u2a7e": r"\ge ",
        "\u2260": r"\ne ",
        "\u2248": r"\approx ",
        "\u2245": r"\approx ",
        "\u2261": r"\equiv ",
        "\u2192": r"\to ",
        "\u21d2": r"\implies ",
        "\u2234": r"\therefore ",
        "\u00b1": r"\pm ",
        "\u2213": r"\mp ",
        "\u00b0": r"^\circ ",
        "\u2220": r"\angle ",
        "\u27e8": r"\langle ",
        "\u27e9": r"\rangle ",
        **{chr(0x3B1 + place): rf"\{name} " for place, name in enumerate(_GREEK)},
        "\u0394": r"\Delta ",
        "\u03a3": r"\Sigma ",
        "\u03a9": r"\Omega ",
    }
)

_KEPT = str.maketrans(
    {
        "\u211d": r"\mathbb{R}",
        "\u2124": r"\mathbb{Z}",
        "\u2115": r"\mathbb{N}",
        "\u211a": r"\mathbb{Q}",
        "\u2102": r"\mathbb{C}",
        "\u00b4": "'",
        "\u212f": "e",
        "\u00b5": "u",
    }
)
"""Letters that the compatibility form would make plain ones."""


def plain_characters(text: str) -> str:
    """The text with ASCII digits, one kind of minus, and commands of LaTeX in place of signs.

    >>> plain_characters("\u2212\u00bdx\u00b2 \u2264 \uff15")
    '-\\\\frac{1}{2}x^{2} \\\\le  5'
    """
    text = _STACKED.sub(lambda found: _fraction(*found.groups()), text.translate(_KEPT))
    text = _RAISED.sub(lambda found: "^{" + _compatible(found[0]) + "}", text)
    text = _LOWERED.sub(lambda found: "_{" + _compatible(found[0]) + "}", text)
    text = _VULGAR.sub(lambda found: _fraction(*_compatible(found[0]).split("\u2044")), text)
    text = "".join(str(unicodedata.decimal(c)) if ord(c) > 127 and c.isdecimal() else c for c in _compatible(text))
    return text.translate(_SYMBOLS)


def _fraction(above: str, below: str) -> str:
    return rf"\frac{{{_compatible(above)}}}{{{_compatible(below)}}}"


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text)
