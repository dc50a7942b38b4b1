"""The tasks of BFCL as prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, TypeAlias

from attrs import field, frozen, validators

from morl.errors import ConfigError
from morl.types import Prompt
from morl_bfcl.categories import MULTI_TURN, expand
from morl_bfcl.entries import Entry, load
from morl_bfcl.package import check_installed
from morl_bfcl.schemas import tool_schema
from morl_bfcl.wording import with_functions

Functions: TypeAlias = Literal["system", "tools"]

CONVERSATION = "bfcl_conversation"
"""Column that multi-turn tasks have, and others do not: `calls_in`, where the environment finds calls."""


@frozen
class BFCLPrompts:
    """Tasks of the Berkeley Function-Calling Leaderboard, from the package `bfcl-eval`.

    Columns: `id` and `category`; of single-turn tasks also `functions`, their documentation in BFCL's form, `answer`,
    the reference answer, null where the category has none, and `tools`, the functions as JSON schemas; of multi-turn
    tasks, which need the environment `bfcl`, `bfcl_conversation`.

    Args:
        category: one of BFCL's categories, such as `simple_python`, a list of them, or a group: `python` (all
            single-turn ones), `live`, `multi_turn`.
        functions: how the policy learns of the functions: `system` writes them into the system message, in BFCL's own
            words, which ask for calls like `[f(x=1)]`; `tools` leaves them to the chat template: of single-turn tasks
            by `tools_column: tools` of the prompts, of multi-turn tasks by the environment.
        skip: rows of each category to leave out, from the first on; with `limit`, one part of a category can be trained
            on and another held out.
        limit: rows of each category, after those skipped; null takes all.

    Raises:
        ConfigError: a category that is unknown or not supported; `multi_turn_miss_func` with `functions: tools`.
        PluginError: the package `bfcl-eval` is not installed, or in another version.
    """

    form_options: ClassVar[tuple[str, ...]] = ("functions",)

    category: str | Sequence[str]
    functions: Functions = field(default="system", validator=validators.in_(("system", "tools")))
    skip: int = field(default=0, validator=validators.ge(0))
    limit: int | None = field(default=None, validator=validators.optional(validators.ge(1)))

    def __attrs_post_init__(self) -> None:
        if self.functions == "tools" and "multi_turn_miss_func" in expand(self.category):
            raise ConfigError(
                "functions: tools cannot be used with multi_turn_miss_func: it adds functions in the middle of a"
                " conversation, and what a chat template says about tools stands at its beginning; use"
                " functions: system, or name the other categories of multi_turn"
            )
        expand(self.category)
        check_installed()

    def load(self) -> list[Prompt]:
        """Category by category, in BFCL's order."""
        end = None if self.limit is None else self.skip + self.limit
        return [self._prompt(entry) for name in expand(self.category) for entry in load(name)[self.skip : end]]

    def _prompt(self, entry: Entry) -> Prompt:
        messages = [dict(message) for message in entry.turns[0]]
        if self.functions == "system":
            messages = [dict(message) for message in with_functions(messages, entry.functions)]
        columns = {"id": entry.id, "category": entry.category}
        if entry.category in MULTI_TURN:
            return Prompt(messages, columns | {CONVERSATION: {"calls_in": self.functions}})
        own = {
            "functions": entry.functions,
            "answer": entry.answer,
            "tools": [tool_schema(doc) for doc in entry.functions],
        }
        return Prompt(messages, columns | own)
