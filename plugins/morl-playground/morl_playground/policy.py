"""The policy source: finds the SFT-initialised policy in the cache, or makes it there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from attrs import asdict, field, frozen, validators

from morl.errors import ConfigError
from morl_playground.cache import fingerprint, kept_in, made_once
from morl_playground.progress import announced
from morl_playground.tasks import ConversationTask, find_task


@frozen
class PlaygroundPolicy:
    """A tiny policy, made on this machine for one task and initialised by SFT on imperfect demonstrations of it.

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
        check_width(self.hidden_size, self.heads)

    def resolve(self) -> str:
        """The model's folder, made now if need be."""
        return made_once(self.folder, self._make)

    @property
    def folder(self) -> Path:
        """Where in the cache it is, or will be; the name changes with every option and library version."""
        options = asdict(self, filter=lambda option, _: option.name != "cache")
        return kept_in(self.cache) / f"{self.task}-{fingerprint(options)}"

    def _make(self, folder: Path) -> None:
        from morl_playground.chat import build_chat_tokenizer, conversations
        from morl_playground.sft import demonstrations, sft_initialised, small_llama
        from morl_playground.tokenizer import build_tokenizer

        task, random = find_task(self.task, self.task_options), Random(self.seed)
        if isinstance(task, ConversationTask):
            tokenizer = build_chat_tokenizer(task.texts())
            batches = conversations(task, tokenizer, self.warmup_batch_size, random)
        else:
            tokenizer = build_tokenizer(task.texts())
            batches = demonstrations(task, tokenizer, self.warmup_batch_size, random)
        with announced(self.task, folder.parent, self.warmup_steps) as report:
            model = sft_initialised(
                small_llama(tokenizer, self.hidden_size, self.layers, self.heads),
                batches,
                steps=self.warmup_steps,
                learning_rate=self.warmup_learning_rate,
                seed=self.seed,
                report=report,
            )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def check_width(hidden_size: int, heads: int) -> None:
    """Raises `ConfigError` for a width that the heads cannot share: each rotates pairs of dimensions."""
    if hidden_size % (2 * heads):
        raise ConfigError(f"hidden_size must be a multiple of 2 * heads = {2 * heads}; got {hidden_size}")
