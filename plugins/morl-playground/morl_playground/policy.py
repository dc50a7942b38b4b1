"""The policy source: finds the warmed-up policy in the cache, or makes it there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen, validators
from rich.console import Console

from morl.errors import ConfigError
from morl_playground.tasks import find_task

_MADE_WITH = ("morl-playground", "tokenizers", "torch", "transformers")


@frozen
class PlaygroundPolicy:
    """A tiny policy, made on this machine for one task and warmed up on imperfect demonstrations of it.

    Made once per combination of options and library versions, in about ten seconds, and found in the cache after that.
    The same options give the same weights, bit by bit on one machine.

    Args:
        task: a name in `morl_playground.tasks.TASKS`.
        seed: of the initial weights and the demonstrations.
        hidden_size: width of the model, a multiple of `2 * heads`.
        layers: number of its layers.
        heads: attention heads per layer.
        warmup_steps: supervised steps.
        warmup_batch_size: demonstrations per step.
        warmup_learning_rate: of AdamW, constant.
        task_options: fields of the task's class, for other demonstrations.
        cache: folder of made policies; default `$XDG_CACHE_HOME/morl-playground` or `~/.cache/morl-playground`.

    Raises:
        ConfigError: an unknown task or task option, or a width that the heads cannot share.
    """

    task: str = "tool-calling"
    seed: int = 0
    hidden_size: int = field(default=64, validator=validators.ge(2))
    layers: int = field(default=2, validator=validators.ge(1))
    heads: int = field(default=4, validator=validators.ge(1))
    warmup_steps: int = field(default=200, validator=validators.ge(0))
    warmup_batch_size: int = field(default=64, validator=validators.ge(1))
    warmup_learning_rate: float = field(default=2e-3, validator=validators.gt(0.0))
    task_options: Mapping[str, Any] = field(factory=dict)
    cache: str | None = None

    def __attrs_post_init__(self) -> None:
        find_task(self.task, self.task_options)
        if self.hidden_size % (2 * self.heads):  # each head rotates pairs of dimensions
            raise ConfigError(f"hidden_size must be a multiple of 2 * heads = {2 * self.heads}; got {self.hidden_size}")

    def resolve(self) -> str:
        """The model's folder, made now if need be."""
        folder = self.folder
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
            try:
                self._make(unfinished)
                _publish(unfinished, folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return str(folder)

    @property
    def folder(self) -> Path:
        """Where in the cache it is, or will be; the name changes with every option and library version."""
        made_from = {
            "options": asdict(self, filter=lambda option, _: option.name != "cache"),
            "versions": {name: version(name) for name in _MADE_WITH},
        }
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
        return self._cache() / f"{self.task}-{key}"

    def _cache(self) -> Path:
        if self.cache is not None:
            return Path(self.cache)
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "morl-playground"

    def _make(self, folder: Path) -> None:
        from morl_playground.tokenizer import build_tokenizer
        from morl_playground.warmup import small_llama, warmed_up

        task = find_task(self.task, self.task_options)
        tokenizer = build_tokenizer(task.texts())
        console = Console(stderr=True)
        console.print(f"playground: warming up a policy for {self.task!r}, once; it will be kept in {self._cache()}")
        with console.status("warming up") as status:
            model = warmed_up(
                task,
                tokenizer,
                small_llama(tokenizer, self.hidden_size, self.layers, self.heads),
                steps=self.warmup_steps,
                batch_size=self.warmup_batch_size,
                learning_rate=self.warmup_learning_rate,
                seed=self.seed,
                report=lambda step, loss: status.update(f"step {step} of {self.warmup_steps}, loss {loss:.2f}"),
            )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _publish(unfinished: Path, folder: Path) -> None:
    """Renames, which is atomic: a folder of the final name is always complete."""
    os.chmod(unfinished, 0o755)
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process made the very same policy meanwhile
            raise
