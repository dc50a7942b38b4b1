"""Prompts from a data set of the Hugging Face hub, or from local files that the `datasets` library reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from attrs import frozen

from morl.errors import ConfigError, DataError, suggest
from morl.prompts.rows import RowOptions
from morl.types import Prompt

if TYPE_CHECKING:
    from datasets import Dataset

_READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".arrow": "arrow"}
"""File name ending -> the reader of `datasets`."""


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
        dataset = self._local() if Path(self.path).exists() else self._hub()
        rows = DatasetRows(dataset, self, min(len(dataset), self.limit or len(dataset)))
        rows[0]  # a column that does not fit is better found now
        return rows

    def _local(self) -> Dataset:
        path = Path(self.path)
        if self.subset is not None or self.revision is not None:
            raise ConfigError(f"`subset` and `revision` belong to hub data sets, but {self.path!r} is local")
        if path.is_dir():
            saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
            return self._saved() if saved else self._loaded(self.path)
        reader = _READERS.get(Path(path.stem).suffix if path.suffix == ".gz" else path.suffix)
        if reader is None:
            raise DataError(f"{self.path!r} is none of {', '.join(_READERS)}")
        return self._loaded(reader, data_files=self.path)

    def _saved(self) -> Dataset:
        from datasets import Dataset, load_from_disk

        dataset = self._read(load_from_disk, self.path)
        if isinstance(dataset, Dataset):
            if self.split != "train":
                raise DataError(f"{self.path!r} was saved without splits; leave `split` out; got {self.split!r}")
            return dataset
        if self.split not in dataset:
            raise DataError(
                f"{self.path!r} has no split {self.split!r}{suggest(self.split, dataset)}; it has {', '.join(dataset)}"
            )
        return dataset[self.split]

    def _hub(self) -> Dataset:
        path = Path(self.path)
        # Hub names have at most one slash and no leading dot.
        if path.suffix in _READERS or path.is_absolute() or self.path.startswith(".") or len(path.parts) > 2:
            near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
            raise DataError(f"{self.path!r} does not exist{suggest(path.name, near)} (looked in {Path.cwd()})")
        return self._loaded(self.path, name=self.subset, revision=self.revision)

    def _loaded(self, *arguments: str, **options: Any) -> Dataset:
        from datasets import load_dataset

        return self._read(load_dataset, *arguments, split=self.split, **options)

    def _read(self, function: Callable[..., Any], *arguments: str, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if (cause := error.__cause__) is not None:
                reason += f" ({type(cause).__name__}: {cause})"
            network = "; without network, use a local file or folder" if isinstance(error, ConnectionError) else ""
            raise DataError(
                f"data set {self.path!r}, split {self.split!r}, cannot be loaded: {reason}{network}"
            ) from error


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
