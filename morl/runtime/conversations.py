"""Conversations as a rollout backend: whoever samples gets them, without knowing of turns."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define, evolve, field, frozen

from morl.config.schema import EnvironmentConfig
from morl.conversation.asking import Asking
from morl.conversation.driver import CLOSING, Driver
from morl.conversation.opening import Opening
from morl.conversation.reply_format import ReplyFormat
from morl.conversation.talk import Limits
from morl.errors import ConfigError, told
from morl.hookspecs import Environment, RolloutBackend, RolloutStream
from morl.prompts import ChatTemplate
from morl.prompts.encode import encode_chat
from morl.prompts.special_tokens import SpecialTokens
from morl.rollout.context import context_limit
from morl.rollout.ends import end_ids
from morl.runtime import seeds
from morl.runtime.sampling import Stream, sample
from morl.texts import texts_in
from morl.types import EncodedPrompt, Prompt, RolloutBatch, Sampling

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


@define(eq=False)
class Conversations:
    """A `RolloutBackend` whose completions are conversations with an environment, sampled by another backend.

    Args:
        backend: samples the turns.
        environment: answers them.
        reward_names: that it declares.
        options: the config's section.
        template: what the chat template is given besides the messages.
        sampling: of the run.
    """

    opens_prompts: ClassVar[bool] = True

    backend: RolloutBackend
    environment: Environment
    reward_names: tuple[str, ...]
    options: EnvironmentConfig
    template: ChatTemplate
    _driver: Driver | None = field(init=False, default=None)
    _language: Language | None = field(init=False, default=None)
    _vocabulary: int | None = field(init=False, default=None)

    @property
    def in_process(self) -> bool:
        return bool(getattr(self.backend, "in_process", False))

    @property
    def max_staleness(self) -> int:
        return int(getattr(self.backend, "max_staleness", 0))

    @property
    def sampling_options(self) -> frozenset[str]:
        return frozenset(getattr(self.backend, "sampling_options", ()))

    def check_sampling(self, sampling: Sampling) -> None:
        """What the backend itself refuses."""
        check = getattr(self.backend, "check_sampling", None)
        if check is not None:
            check(sampling)

    def check(self, rows: Mapping[str, Sequence[Prompt]], tokenizer: Any, generation_config: Any) -> None:
        """Refuses what no conversation can be held with, before any weights are loaded.

        Args:
            rows: prompts by the path of their section.
            tokenizer: of the policy.
            generation_config: of the model.

        Raises:
            ConfigError: prompts that are text, a chat template that cannot continue or leaves out the tools.
        """
        for path, prompts in rows.items():
            looked_at = prompts if isinstance(prompts, list | tuple) else prompts[:1]
            for row, prompt in enumerate(looked_at):
                if isinstance(prompt.content, str):
                    raise ConfigError(
                        f"{path}: conversations need chats, and the prompt of row {row} is text; set {path}.chat: true,"
                        " or leave the section `environment` out"
                    )
        language = Language(tokenizer, self.template, self.options.call_format, generation_config)
        reply_format = language.format(self.template, getattr(self.environment, "tools", None) or ())
        for change in reply_format.changes():
            _log.warning("%s", change)

    def start(self, policy: nn.Module, tokenizer: Any, model_path: str) -> None:
        """See `morl.hookspecs.RolloutBackend`."""
        self.backend.start(policy, tokenizer, model_path)
        model: Any = policy.model
        self._vocabulary = getattr(policy, "vocabulary", None)
        options = self.options
        self._language = Language(
            tokenizer, self.template, options.call_format, getattr(model, "generation_config", None)
        )
        limits = Limits(options.max_turns, options.max_tool_calls, options.max_tokens, context_limit(model.config))
        self._driver = Driver(
            environment=self.environment,
            reward_names=self.reward_names,
            limits=limits,
            timeout=options.timeout,
            patience=options.patience,
            asking=Asking(options.concurrency),
            draw=self._draw,
            stream=self._stream if hasattr(self.backend, "stream") else None,
            language=self._language,
            seeds=Seeds(),
            zero_at_limits=options.on_limit == "zero",
        )
        # What a backend tries on the policy before a first conversation it tries here: later, under a lag, another
        # thread may train the policy meanwhile.
        with self._turns():
            pass

    def generate(
        self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> RolloutBatch:
        """`n` conversations about each prompt; the prompts of the batch are those that the policy read."""
        assert self._driver is not None
        with self._turns():
            return self._driver.run(prompts, n, sampling, seeds)

    def sync_weights(self, version: int) -> None:
        """See `morl.hookspecs.RolloutBackend`."""
        assert self._driver is not None
        self._driver.version = version
        self.backend.sync_weights(version)

    def close(self) -> None:
        """Ends the backend and the environment, which is left behind where it takes too long, or fails."""
        try:
            self.backend.close()
        finally:
            asking = Asking(1) if self._driver is None else self._driver.asking
            asking.abandon()
            close = getattr(self.environment, "close", None)
            for error in asking.hurry([] if close is None else [close], CLOSING):
                _log.warning("the environment could not be closed: %s", told(error), exc_info=error)
            asking.close()

    def _turns(self) -> AbstractContextManager[None]:
        turns: Callable[[], AbstractContextManager[None]] = getattr(self.backend, "turns", nullcontext)
        return turns()

    def _stream(self) -> RolloutStream:
        stream = getattr(self.backend, "stream")()  # noqa: B009 - not every backend has one
        return Stream(stream, type(self.backend).__name__, self._with_ends, self._vocabulary)

    def _with_ends(self, sampling: Sampling) -> Sampling:
        assert self._language is not None
        return self._language.with_ends(sampling, self.sampling_options)

    def _draw(
        self, contexts: Sequence[EncodedPrompt], n: int, sampling: Sampling, draws: Sequence[int]
    ) -> RolloutBatch:
        return sample(self.backend, contexts, n, self._with_ends(sampling), draws, self._vocabulary)


@frozen
class Seeds:
    """See `morl.conversation.driver.Seeds`."""

    def episode(self, seed: int) -> int:
        return seeds.derive(seed, seeds.EPISODE)

    def turn(self, seed: int, member: int, turn: int) -> int:
        return seeds.derive(seed, seeds.TURN, member, turn)


@define(eq=False)
class Language:
    """How the policy reads and writes; see `morl.conversation.driver.Language`.

    Args:
        tokenizer: of the policy.
        template: what the chat template is given besides the messages.
        call_format: how calls of tools are written.
        generation_config: of the model.
    """

    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    call_format: str
    generation_config: Any
    _formats: dict[str, ReplyFormat] = field(init=False, factory=dict)

    def begin(self, prompt: EncodedPrompt, opening: Opening) -> tuple[EncodedPrompt, ReplyFormat]:
        """The prompt with what an episode puts before the first turn, and how replies are read and continued.

        Raises:
            ConfigError: tools from two places; a template that cannot continue.
            DataError: a template that refuses the messages, or leaves the tools out.
        """
        template, tools = self.template.of_row(prompt.prompt, self.tokenizer, prompt.index)
        if tools and opening.tools:
            raise ConfigError(
                f"prompts.tools_column: row {prompt.index} has tools, and the environment offers its own; leave the"
                " column out"
            )
        tools = tools or [dict(tool) for tool in opening.tools]
        if not opening.is_empty:
            before = prompt.prompt.messages if opening.prompt is None else opening.prompt
            messages = [*before, *opening.messages]
            # What an environment says never becomes a special token: it could forge a turn of the policy.
            keep = template.special_tokens == "keep" and not self._has_special(opening)
            special_tokens = template.special_tokens if keep or template.special_tokens == "refuse" else "text"
            with_tools = evolve(template, tools_column="tools", special_tokens=special_tokens)
            encoded = encode_chat(Prompt(messages, {"tools": tools}), self.tokenizer, with_tools, prompt.index)
            prompt = evolve(encoded, prompt=evolve(prompt.prompt, content=messages))
        return prompt, self.format(template, tools)

    def format(self, template: ChatTemplate, tools: Sequence[Mapping[str, Any]]) -> ReplyFormat:
        """How replies are read and continued where these tools are offered; made once."""
        key = json.dumps([template.arguments, [*tools]], default=str, sort_keys=True)
        if key not in self._formats:
            self._formats[key] = ReplyFormat.of(
                self.tokenizer, template=template, tools=tools, call_format=self.call_format, end_ids=self._ends()
            )
        return self._formats[key]

    def with_ends(self, sampling: Sampling, known: frozenset[str]) -> Sampling:
        """The sampling settings with every token that ends a reply in the chat template.

        Raises:
            ConfigError: there is one, and the backend does not know `stop_token_ids`.
        """
        own = self._ends() | {*sampling.stop_token_ids}
        more = sorted({*()}.union(*(reply_format.ends for reply_format in self._formats.values())) - own)
        if not more:
            return sampling
        if "stop_token_ids" not in known:
            tokens = ", ".join(map(str, self.tokenizer.convert_ids_to_tokens(more)))
            raise ConfigError(
                f"replies end with {tokens} in the chat template, at which the model itself does not stop, and the"
                " rollout backend does not know sampling.stop_token_ids; choose another backend, or name the tokens in"
                " the model's generation config (eos_token_id)"
            )
        ids: Any = (*sampling.stop_token_ids, *more)
        return evolve(sampling, stop_token_ids=ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""
        return str(self.tokenizer.decode([*ids], skip_special_tokens=True))

    def _has_special(self, opening: Opening) -> bool:
        special = SpecialTokens.of(self.tokenizer)
        return any(
            special.found_in(text) for text in texts_in([opening.prompt, opening.messages, opening.tools], keys=True)
        )

    def _ends(self) -> frozenset[int]:
        return end_ids(self.tokenizer, self.generation_config, Sampling())
