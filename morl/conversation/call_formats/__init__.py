"""Parsers of calls of tools, one for each format that models write."""

from __future__ import annotations

from collections.abc import Mapping

from morl.conversation.call_formats.deepseek import DeepSeek
from morl.conversation.call_formats.function_xml import FunctionXml
from morl.conversation.call_formats.gemma import Gemma4
from morl.conversation.call_formats.glm import Glm
from morl.conversation.call_formats.harmony import Harmony
from morl.conversation.call_formats.hermes import Hermes
from morl.conversation.call_formats.llama import LlamaJson
from morl.conversation.call_formats.pythonic import Pythonic
from morl.conversation.call_formats.written import CallFormat

CALL_FORMATS: Mapping[str, CallFormat] = {
    "hermes": Hermes(),
    "function-xml": FunctionXml(),
    "llama": LlamaJson(),
    "harmony": Harmony(),
    "deepseek": DeepSeek(),
    "glm": Glm(),
    "pythonic": Pythonic(),
    "gemma4": Gemma4(),
}
"""Name of a call format -> its parser."""
