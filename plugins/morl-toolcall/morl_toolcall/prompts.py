"""Rows in the layouts of the ToolRL data set, as prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from morl.errors import ConfigError, DataError
from morl.prompts import is_single_file, read_data_set
from morl.types import Message, Prompt
from morl_toolcall.grading import read_gold
from morl_toolcall.layouts import conversation
from morl_toolcall.parsing import replace_thinking
from morl_toolcall.system import PACKAGED, system_message


@frozen
class ToolRLPrompts:
    """Prompts of ToolRL: chat messages, and a reference answer in the column `ground_truth`.

    Rows have `prompt`, chat messages or the text of one, and the reference answer in `ground_truth`, or, as verl lays
    its rows out, in `reward_model.ground_truth`; or they are raw: `instruction`, `input` and `output`.  All other
    columns stay as they are.

    Args:
        path: a `.jsonl`, `.json` or `.parquet` file, a folder that `save_to_disk` wrote, or whatever else
            `datasets.load_dataset` reads.
        split: of a path that is not a single file.
        check: read every reference answer before training starts; turn it off for the reward variant `toolrl`, which
            reads them its own way.
        system: system message of rows that have none; `{tools}` in it becomes the list of the row's `tools`, and
            `default` stands for a packaged one that explains the form.  null adds nothing.
        thinking: the thinking of every reference answer becomes this text; null keeps it.
        exclude: file or folder of rows to leave out: those of the same messages, for prompts that are to be held out.

    Raises:
        ConfigError: a `thinking` that holds its own tags.
    """

    path: str
    split: str = "train"
    check: bool = True
    system: str | None = None
    thinking: str | None = None
    exclude: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.thinking is not None and ("<think>" in self.thinking or "</think>" in self.thinking):
            raise ConfigError(f"thinking must be the text between the tags, without them; got {self.thinking!r:.80}")

    def load(self) -> list[Prompt]:
        """All rows, in the order of the file.

        Raises:
            DataError: no such file or split, a row without prompt or reference answer, or one that cannot be read.
        """
        excluded = set()
        if self.exclude is not None:
            excluded = {_key(self._messages(row, where)) for where, row in self._rows(self.exclude)}
        prompts = [self._prompt(row, where) for where, row in self._rows(self.path)]
        return [prompt for prompt in prompts if _key(prompt.content) not in excluded]

    def _rows(self, path: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
        rows = read_data_set(path, "train" if is_single_file(path) else self.split)
        return [(f"row {index} of {path}", row) for index, row in enumerate(rows)]

    def _messages(self, row: Mapping[str, Any], where: str) -> Sequence[Message]:
        messages, _, _ = conversation(row, where)
        if self.system is None or messages[0]["role"] == "system":
            return messages
        text = PACKAGED if self.system == "default" else self.system
        return [{"role": "system", "content": system_message(text, row, where)}, *messages]

    def _prompt(self, row: Mapping[str, Any], where: str) -> Prompt:
        _, gold, columns = conversation(row, where)
        if self.thinking is not None:
            gold = replace_thinking(gold, self.thinking)
        if self.check:
            try:
                read_gold(gold)
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
        return Prompt(self._messages(row, where), {**columns, "ground_truth": gold})


def _key(content: str | Sequence[Message]) -> tuple[tuple[Any, Any], ...]:
    assert not isinstance(content, str)
    return tuple((message["role"], message["content"]) for message in content)
