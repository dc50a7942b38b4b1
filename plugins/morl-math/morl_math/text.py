"""An answer's text in one form: the same characters, spacing and commands, whatever the writer took."""

from __future__ import annotations

import re

from attrs import frozen

from morl_math.characters import plain_characters

_ROW = r"\\\\"
"""A row break `\\\\`, which comes first in every pattern of commands: its second half is no command."""
_NOTHING = re.compile(
    rf"({_ROW})|\\!|\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits|hfill)(?![A-Za-z])\.?"
    r"|\\[()\[\]]|\\label\{[^{}]*\}"
)
_SPACE = re.compile(rf"({_ROW})|\\[,;: ]|\\(?:q?quad|thinspace|enspace|hspace\{{[^{{}}]*\}})(?![A-Za-z])|~|\s+")
_UPRIGHT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|emph|math(?:rm|bf|it|sf|normal)|rm|bf|mbox|hbox)"
    r"\s*\{([^{}\\]*)\}"
)
_SIMPLE = re.compile(r"\\text\{\s*([dei]|[^A-Za-z{}]*)\s*\}")
"""A differential, a constant, a number: not words, however they are set."""
_COMMANDS = re.compile(
    rf"({_ROW})|\\(lbrace|rbrace|lbrack|rbrack|lvert|rvert|vert|leq|leqslant|geq|geqslant|neq|not\s*=|dfrac|tfrac|cfrac"
    r"|varnothing|rightarrow|longrightarrow|Rightarrow|iff|setminus|backslash|lor|land|vee|wedge|infin|lg|tbinom|dbinom"
    r"|cong|simeq|ast|dots|cdots|dotsc|lt|gt|arcsinh)(?![A-Za-z])"
)
_SAME = {
    "lbrace": r"\{", "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "lvert": "|", "rvert": "|", "vert": "|",
    "leq": r"\le ", "leqslant": r"\le ", "geq": r"\ge ", "geqslant": r"\ge ", "neq": r"\ne ",
    "dfrac": r"\frac", "tfrac": r"\frac", "cfrac": r"\frac", "varnothing": r"\emptyset ", "rightarrow": r"\to ",
    "longrightarrow": r"\to ", "Rightarrow": r"\implies ", "iff": r"\implies ", "setminus": r"\setminus ",
    "backslash": r"\setminus ", "lor": " or ", "vee": " or ", "land": " and ", "wedge": " and ", "infin": r"\infty ",
    "lg": r"\log_{10} ", "tbinom": r"\binom", "dbinom": r"\binom", "cong": r"\approx ", "simeq": r"\approx ",
    "ast": "*", "dots": r"\ldots ", "cdots": r"\ldots ", "dotsc": r"\ldots ", "lt": "<", "gt": ">",
    "arcsinh": r"\operatorname{arsinh}",
}  # fmt: skip
_ARGUMENT = re.compile(
    r"\\frac(?![A-Za-z])\s*([0-9A-Za-z])\s*([0-9A-Za-z])"
    r"|\\(?:frac|binom)(?![A-Za-z])\s*(\{[^{}]*\})\s*([0-9A-Za-z])"
    r"|\\(?:frac|binom)(?![A-Za-z])\s*([0-9A-Za-z])\s*(?=\{)|\\binom\s*(\d)\s*(\d)"
)
_SCRIPT = re.compile(r"([_^])\s*([0-9]+|[A-Za-z](?![A-Za-z])|-\s*\d+)")
_ROOT = re.compile(r"[√]\s*(\d+(?:\.\d+)?|[A-Za-z]|(?=[({\\]))|[∛]\s*(\d+|[A-Za-z])|(?<![\\A-Za-z])sqrt\s*(?=[({])")
_BARE_ROOT = re.compile(r"\\sqrt\s*(\[[^\[\]]*\])?\s*(\d|[A-Za-z])")
_TIMES = re.compile(r"(?<=[\d.}]) ?[xX] ?(?=10 ?\^)|(?<=\d) [xX] (?=\d)")
_POWER_OF_TEN = re.compile(r"(?<![A-Za-z\\\d.])(\d+(?:\.\d*)?|\.\d+)[eE]([+-]?\d{1,4})(?![\d.A-Za-z])")
_COMMA = re.compile(r"(?<![\d.])\d{1,3}(?:(?:\{,\}|\\,|\\ |\\:|\\!)\d{3})+(?!\d)")
_GROUPS = re.compile(r"(?<![\d.,] )(?<![\d.,^_{])\d{1,3}(?: \d{3})+(?![\d,])(?! ?\d)")
_DOLLARS = re.compile(r"(?<!\\)\$+")


@frozen
class Answer:
    """A cleaned answer.

    Attributes:
        text: LaTeX or plain, on one line, without delimiters of mathematics around it.
        upright: all of it stood in `\\text{..}` or the like.
    """

    text: str
    upright: bool


def clean(text: str) -> Answer:
    """Drops emphasis, delimiters of mathematics, spacing commands and final periods; brings characters to one form.

    >>> clean(" **$\\\\left(1{,}000\\\\,;\\u22122\\\\right)$.** ")
    Answer(text='(1000 ;-2)', upright=False)
    """
    text = plain_characters(text)
    text = _dollars(_bare(text))
    # Thousands first: the spaces between the groups of a number are no spaces between numbers.
    text = _COMMA.sub(lambda found: re.sub(r"\D", "", found[0]), text).replace("{,}", ",")
    text = _NOTHING.sub(lambda found: found[1] or "", text)
    text = _SPACE.sub(lambda found: found[1] or " ", text)
    text = _COMMANDS.sub(lambda found: found[1] or _SAME.get(found[2], r"\ne "), text)
    text = re.sub(r"\^ ?\{ ?\\circ ?\}", r"^\\circ ", text.replace(r"\%", "%").replace(r"\ldots", "..."))
    text = _GROUPS.sub(lambda found: found[0].replace(" ", ""), _bare(text))
    text = _SIMPLE.sub(r" \1 ", _UPRIGHT.sub(r"\\text{\1}", text))
    whole = re.fullmatch(r"\\text\{([^{}]*)\}", _bare(text))
    if whole:
        return Answer(_bare(whole[1]), True)
    text = _mathematics(text)
    return Answer(_bare(re.sub(r" +", " ", text)), False)


def _dollars(text: str) -> str:
    """Without the signs around formulas; a single sign is the currency."""
    signs = len(_DOLLARS.findall(text))
    return _DOLLARS.sub(r"\\$", text) if signs == 1 else _DOLLARS.sub("", text)


def _mathematics(text: str) -> str:
    """Arguments in braces, roots as commands, times and powers of ten as TeX writes them."""
    text = re.sub(r"(?<=[\w)}])\*\*(?=[\w({-])", "^", text)
    if r"\choose" in text:
        text = re.sub(r"\{\s*([^{}]*?)\s*\\choose\s*([^{}]*?)\s*\}", r"\\binom{\1}{\2}", text)
    text = _ROOT.sub(_root, text)
    text = re.sub(r"\\log\s*_\s*(\d)(\d+)(?=$|[-+*/=,)])", r"\\log_{\1} \2", text)  # TeX takes one digit
    text = re.sub(r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = _BARE_ROOT.sub(r"\\sqrt\1{\2}", text)
    text = _SCRIPT.sub(lambda found: found[1] + "{" + found[2].replace(" ", "") + "}", text)
    text = _ARGUMENT.sub(_arguments, text)
    text = _ARGUMENT.sub(_arguments, text)
    text = re.sub(r"\}\s+\{", "}{", text)
    text = re.sub(r"\\[pb]?mod\s*(?:\{\s*(\w+)\s*\}|(\w))", r"\\pmod{\1\2}", text)
    text = _TIMES.sub(r" \\times ", text)
    return _POWER_OF_TEN.sub(lambda found: rf"{found[1]} \times 10^{{{int(found[2])}}}", text)


def _root(found: re.Match[str]) -> str:
    if found[2]:
        return rf"\sqrt[3]{{{found[2]}}}"
    return rf"\sqrt{{{found[1]}}}" if found[1] else r"\sqrt"


def _arguments(found: re.Match[str]) -> str:
    command = re.match(r"\\[a-z]+", found[0])
    assert command is not None
    above = found[1] or found[3] or found[5] or found[6]
    below = found[2] or found[4] or found[7]
    above = above if above.startswith("{") else "{" + above + "}"
    return command[0] + above + ("{" + below + "}" if below else "")


def _bare(text: str) -> str:
    """Without white space, emphasis and final punctuation."""
    before = None
    while text != before:
        before = text
        text = text.strip().strip("`")
        if text.endswith("\\") and not text.endswith("\\\\"):  # the space of `\ ` is gone
            text = text[:-1]
        if text[-1:] in ".,;" and text[-2:-1] != "\\" and not text.endswith("..."):
            text = text[:-1]
        if len(text) > 4 and text.startswith("**") and text.endswith("**"):
            text = text[2:-2]
        if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"_":
            text = text[1:-1]
    return text
