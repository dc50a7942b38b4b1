"""Prompts from the rows of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from attrs import frozen

from morl.prompts.data_set import read_data_set
from morl.prompts.rows import RowOptions
from morl.types import Prompt

if TYPE_CHECKING:
    from datasets import Dataset


@frozen(eq=False)
class HubDataset(RowOptions):
    """A data set; see `RowOptions` for the other options.

    Attributes:
        path: name on the hub (`openai/gsm8k`), or a local file (parquet, JSON, CSV, arrow), a folder of such files, or
            a folder that `save_to_disk` wrote.
        split: which part; may be a slice, `train[:1000]`.  A single local file is all `train`.
        subset: configuration of a hub data set that has several (`main`).
        revision: commit, branch or tag of a hub data set.
    """

    path: str
    split: str = "train"
    subset: str | None = None
    revision: str | None = None

    def load(self) -> DatasetRows:
        """The rows, read from disk as they are asked for.

        Raises:
            DataError: no such data set, split or column; no network.
            ConfigError: an option that means nothing for a local file.
        """
        dataset = read_data_set(self.path, self.split, subset=self.subset, revision=self.revision)
        rows = DatasetRows(dataset, self, min(len(dataset), self.limit or len(dataset)))
        rows[0]  # a column that does not fit is better found now
        return rows


@frozen(eq=False)
class DatasetRows(Sequence[Prompt]):
    """The first `size` rows of a `datasets.Dataset` as prompts, made when they are asked for."""

    dataset: Dataset
    options: RowOptions
    size: int

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prompt]: ...
    def __getitem__(self, index: int | slice) -> Prompt | list[Prompt]:
        rows = range(self.size)[index]
        if isinstance(rows, range):
            return [self[row] for row in rows]
        return self.options.to_prompt(self.dataset[rows], f"row {rows}")
