"""Rows in the layout of the ToolRL data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from morl.errors import DataError
from morl.types import Prompt
from morl_toolcall.paper import read_gold

_FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}


@frozen
class ToolRLPrompts:
    """Prompts of ToolRL: rows with `prompt`, chat messages, and a reference answer.

    The reference answer stands in `ground_truth`, or, as verl lays its rows out, in `reward_model.ground_truth`; the
    prompts have it in the column `ground_truth` either way, and all other columns as they are.

    Args:
        path: a `.jsonl`, `.json` or `.parquet` file, or whatever else `datasets.load_dataset` reads.
        split: of a path that is not a single file.
        check: read every reference answer before training starts; turn it off for the reward variant `toolrl`, which
            reads them its own way.
    """

    path: str
    split: str = "train"
    check: bool = True

    def load(self) -> list[Prompt]:
        """All rows, in the order of the file.

        Raises:
            DataError: no such file or split, a row without prompt or reference answer, or one that cannot be read.
        """
        return [self._prompt(index, row) for index, row in enumerate(self._rows())]

    def _rows(self) -> Any:
        from datasets import load_dataset  # takes a second to import

        builder = _FORMATS.get(Path(self.path).suffix)
        try:
            if builder is not None:
                return load_dataset(builder, data_files=self.path, split="train")
            return load_dataset(self.path, split=self.split)
        except Exception as error:
            raise DataError(f"cannot read ToolRL rows from {self.path!r}: {type(error).__name__}: {error}") from error

    def _prompt(self, index: int, row: Mapping[str, Any]) -> Prompt:
        where = f"row {index} of {self.path}"
        gold = row.get("ground_truth") or (row.get("reward_model") or {}).get("ground_truth")
        for name, value in (("prompt", row.get("prompt")), ("ground_truth", gold)):
            if not value:
                raise DataError(f"{where} has no {name!r}; its columns: {', '.join(row)}")
        if self.check:
            try:
                read_gold(gold)
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
        columns = {name: value for name, value in row.items() if name != "prompt"}
        return Prompt(row["prompt"], {**columns, "ground_truth": gold})
