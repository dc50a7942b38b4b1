"""The policy source for real prompts: a small Llama that has imitated the reference answers of any prompt source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import asdict, field, frozen, validators

from morl.errors import ConfigError, DataError, suggest
from morl.plugins import Registry
from morl.types import Prompt
from morl_playground.cache import fingerprint, kept_in, made_once
from morl_playground.policy import check_width
from morl_playground.progress import announced

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

POSITIONS = 4096


@frozen
class ImitationPolicy:
    """A small policy with a tokenizer of its own, both made from prompts with reference answers.

    Made once per combination of options, rows and library versions, and found in the cache after that.  The same
    options and rows give the same weights, bit by bit on one machine.

    Args:
        source: name of a prompt source.
        source_options: its options.
        answer: column with the reference answers.
        max_tokens: longest row, prompt and answer together, that is learned; longer ones are left out.
        seed: of the initial weights and of the order of the rows.
        vocab_size: tokens of the tokenizer, the 256 bytes among them, those of shared lines apart.
        hidden_size: width of the model, a multiple of `2 * heads`.
        layers: number of its layers.
        heads: attention heads per layer.
        warmup_steps: supervised steps.
        warmup_batch_size: rows per step.
        warmup_learning_rate: of AdamW, at its highest: it rises over the first tenth of the steps, and then falls to 0.
        learn_prompts: whether the tokens of the prompts are learned, too, and not those of the answers alone.
        cache: folder of made policies; default `$XDG_CACHE_HOME/morl-playground` or `~/.cache/morl-playground`.

    Raises:
        PluginError: no prompt source of this name.
        ConfigError: options that the source does not take, or a width that the heads cannot share.
    """

    source: str
    source_options: Mapping[str, Any] = field(factory=dict)
    answer: str = "ground_truth"
    max_tokens: int = field(default=POSITIONS, validator=[validators.ge(2), validators.le(POSITIONS)])
    seed: int = 0
    vocab_size: int = field(default=4096, validator=validators.ge(512))
    hidden_size: int = field(default=192, validator=validators.ge(2))
    layers: int = field(default=3, validator=validators.ge(1))
    heads: int = field(default=4, validator=validators.ge(1))
    warmup_steps: int = field(default=400, validator=validators.ge(0))
    warmup_batch_size: int = field(default=4, validator=validators.ge(1))
    warmup_learning_rate: float = field(default=2e-3, validator=validators.gt(0.0))
    learn_prompts: bool = True
    cache: str | None = None

    def __attrs_post_init__(self) -> None:
        check_width(self.hidden_size, self.heads)
        self._source()  # so that a name or option that does not exist is refused now

    def resolve(self) -> str:
        """The model's folder, made now if need be.

        Raises:
            DataError: rows that cannot be read, without an answer, or all of them too long.
        """
        prompts, answers = self.rows()
        options = asdict(self, filter=lambda option, _: option.name not in ("cache", "source", "source_options"))
        rows = [[prompt.content, answer] for prompt, answer in zip(prompts, answers, strict=True)]
        folder = kept_in(self.cache) / f"{self.source}-{fingerprint({**options, 'rows': rows})}"
        return made_once(folder, lambda unfinished: self._make(unfinished, prompts, answers))

    def rows(self) -> tuple[Sequence[Prompt], list[str]]:
        """Prompts and reference answers of the source.

        Raises:
            DataError: no rows, or one whose answer is not text.
        """
        prompts = self._source().load()
        if not prompts:
            raise DataError(f"the prompt source {self.source!r} has no rows to imitate")
        answers = [prompt.columns.get(self.answer) for prompt in prompts]
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            if not isinstance(answer, str):
                raise DataError(
                    f"the reference answers to imitate must be text in the column {self.answer!r}"
                    f"{suggest(self.answer, prompt.columns)}; row {row} of {self.source!r} has {answer!r:.80}"
                    f" there; its columns: {', '.join(prompt.columns) or 'none'}"
                )
        return prompts, answers

    def imitate(
        self,
        prompts: Sequence[Prompt],
        answers: Sequence[str],
        report: Callable[[int, float, Any], None] = lambda step, loss, model: None,
    ) -> tuple[PreTrainedTokenizerFast, LlamaForCausalLM]:
        """Tokenizer and model made from these rows; `report` is that of `sft_initialised`."""
        from morl_playground.bpe import train_bpe
        from morl_playground.examples import encode_examples, shuffled_batches
        from morl_playground.sft import rise_and_fall, sft_initialised, small_llama

        tokenizer = train_bpe(prompts, answers, self.vocab_size)
        examples = encode_examples(
            prompts, answers, tokenizer, max_tokens=self.max_tokens, learn_prompts=self.learn_prompts
        )
        config = small_llama(
            tokenizer,
            self.hidden_size,
            self.layers,
            self.heads,
            positions=POSITIONS,
            rope_theta=10_000.0,
            initializer_range=0.02,
        )
        model = sft_initialised(
            config,
            shuffled_batches(examples, self.warmup_batch_size, Random(self.seed), tokenizer.pad_token_id),
            steps=self.warmup_steps,
            learning_rate=self.warmup_learning_rate,
            schedule=rise_and_fall(self.warmup_steps),
            seed=self.seed,
            report=report,
        )
        return tokenizer, model

    def _source(self) -> Any:
        factory = Registry().find("prompt source", self.source).load()
        try:
            return factory(**self.source_options)
        except TypeError as error:
            raise ConfigError(f"source_options of {self.source!r}: {error}") from error

    def _make(self, folder: Path, prompts: Sequence[Prompt], answers: Sequence[str]) -> None:
        with announced(self.source, folder.parent, self.warmup_steps) as report:
            tokenizer, model = self.imitate(prompts, answers, report)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
