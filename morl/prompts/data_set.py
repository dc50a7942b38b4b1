"""Rows of a data set of the Hugging Face hub, or of local files that the `datasets` library reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from morl.errors import ConfigError, DataError, suggest

if TYPE_CHECKING:
    from datasets import Dataset

_READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".arrow": "arrow"}
"""File name ending -> the reader of `datasets`."""


def is_single_file(path: str) -> bool:
    """Whether `path` names a single file, by its ending; it has no split but `train`."""
    return _ending(path) in _READERS


def read_data_set(
    path: str, split: str = "train", *, subset: str | None = None, revision: str | None = None
) -> Dataset:
    """The rows, read from disk as they are asked for.

    Args:
        path: name on the hub (`openai/gsm8k`), or a local file (parquet, JSON, CSV, arrow; gzip as `.gz`), a folder of
            such files, or a folder that `save_to_disk` wrote.
        split: which part; may be a slice, `train[:1000]`.  A single local file is all `train`.
        subset: configuration of a hub data set that has several.
        revision: commit, branch or tag of a hub data set.

    Raises:
        DataError: no such data set or split; no rows; no network.
        ConfigError: an option that means nothing for a local file.
    """
    source = _Source(path, split, subset, revision)
    rows = source.local() if Path(path).exists() else source.hub()
    if not len(rows):
        raise DataError(f"data set {path!r}, split {split!r}, has no rows")
    return rows


@frozen
class _Source:
    path: str
    split: str
    subset: str | None
    revision: str | None

    def local(self) -> Dataset:
        path = Path(self.path)
        if self.subset is not None or self.revision is not None:
            raise ConfigError(f"`subset` and `revision` belong to hub data sets, but {self.path!r} is local")
        if path.is_dir():
            saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
            return self._saved() if saved else self._loaded(self.path)
        reader = _READERS.get(_ending(self.path))
        if reader is None:
            raise DataError(f"{self.path!r} is none of {', '.join(_READERS)}")
        return self._loaded(reader, data_files=self.path)

    def hub(self) -> Dataset:
        path = Path(self.path)
        # Hub names have at most one slash and no leading dot.
        if is_single_file(self.path) or path.is_absolute() or self.path.startswith(".") or len(path.parts) > 2:
            near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
            raise DataError(f"{self.path!r} does not exist{suggest(path.name, near)} (looked in {Path.cwd()})")
        return self._loaded(self.path, name=self.subset, revision=self.revision)

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

    def _loaded(self, *arguments: str, **options: Any) -> Dataset:
        from datasets import load_dataset  # takes a second to import

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


def _ending(path: str) -> str:
    name = Path(path)
    return Path(name.stem).suffix if name.suffix == ".gz" else name.suffix
