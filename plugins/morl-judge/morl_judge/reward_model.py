"""A sequence-classification model as a reward."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from attrs import field, frozen
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from morl.errors import ConfigError, DataError, suggest
from morl.types import Completion

Activation: TypeAlias = Literal["none", "sigmoid", "softmax"]

_Scores = list[float | Exception]


@frozen(eq=False)
class RewardModel:
    """Scores of a Hugging Face sequence-classification model that runs in this process.

    It reads the chat with the completion as the assistant's last message, rendered by a chat template, or, without any
    template, prompt and completion one behind the other.  A prompt that is a text is the user's message.

    Equal texts of a step get equal scores, to the last bit; what else a step holds moves a score by rounding only.

    Args:
        path: a folder, or the name of a hub model, which is looked at when the first completions are scored.
        labels: name of a reward -> label of the model, by its name or number; several rewards of one model.  null is
            for a model of one label.
        device: where it runs; `auto` is the GPU where there is one, else the CPU.
        dtype: of its weights, such as `bfloat16`.
        batch_size: texts at a time.
        max_tokens: a longer text fails; null is what the model can read.
        chat_template: a file with the template; null is the tokenizer's own.
        activation: of the model's outputs: `none` takes them as they are.

    Raises:
        ConfigError: a model that cannot be read or has no such labels, or an option that cannot be used.
    """

    path: str
    labels: Mapping[str, str | int] | None = None
    device: str = "auto"
    dtype: str = "float32"
    batch_size: int = 16
    max_tokens: int | None = None
    chat_template: str | None = None
    activation: Activation = "none"
    reward_names: tuple[str, ...] | None = field(init=False)
    _template: str | None = field(init=False, repr=False)
    _loaded: list[tuple[Any, Any, int]] = field(factory=list, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.activation not in get_args(Activation):
            raise ConfigError(
                f"activation must be one of {', '.join(get_args(Activation))}; got {self.activation!r}"
                f"{suggest(str(self.activation), get_args(Activation))}"
            )
        if not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ConfigError(f"dtype must be one of torch's, such as float32 or bfloat16; got {self.dtype!r}")
        for option in ("batch_size", "max_tokens"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise ConfigError(f"{option} must be at least 1; got {value}")
        try:
            device = torch.device("cpu" if self.device == "auto" else self.device)
        except RuntimeError as error:
            raise ConfigError(
                f"device must be auto or one of torch's, such as cpu or cuda:1; got {self.device!r}"
            ) from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ConfigError(f"device is {self.device!r}, and there is no GPU; leave it at auto, or set cpu")
        if Path(self.path).exists():  # what is on the hub is looked at when it is first needed
            self._label_columns(self._read(AutoConfig.from_pretrained))
        elif not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", self.path):
            raise ConfigError(f"no model at {self.path!r}: there is no such folder, and it is no name of a hub model")
        object.__setattr__(self, "reward_names", None if self.labels is None else tuple(self.labels))
        object.__setattr__(
            self, "_template", None if self.chat_template is None else _read_template(self.chat_template)
        )

    @property
    def reward_bounds(self) -> tuple[float, float] | None:
        """Of an activation that has them."""
        return None if self.activation == "none" else (0.0, 1.0)

    def score(self, completions: Sequence[Completion]) -> _Scores | dict[str, _Scores]:
        """One score per completion and label; an exception for a text that is too long or whose score is not finite."""
        with self._lock:
            tokenizer, model, limit = self._load()
            labels = self._label_columns(model.config)
            texts = [self._text(tokenizer, completion) for completion in completions]
            by_text = self._rows(tokenizer, model, limit, list(dict.fromkeys(texts)))
        rows = [by_text[text] for text in texts]
        columns = {
            index: [row if isinstance(row, Exception) else _finite(float(row[index])) for row in rows]
            for index in labels
        }
        if self.labels is None:
            return columns[labels[0]]
        return {name: columns[index] for name, index in zip(self.labels, labels, strict=True)}

    def _label_columns(self, config: Any) -> tuple[int, ...]:
        names = {str(name): index for index, name in config.id2label.items()}
        if self.labels is None:
            if len(names) != 1:
                raise ConfigError(
                    f"the model at {self.path!r} has {len(names)} labels, {', '.join(names)}; name the rewards by"
                    " `labels`, e.g. {helpful: 0}"
                )
            return (0,)
        if not self.labels:
            raise ConfigError("labels must name at least one reward; got none")
        known = names | {str(index): index for index in names.values()}
        for label in self.labels.values():
            if str(label) not in known:
                raise ConfigError(
                    f"the model at {self.path!r} has no label {label!r}{suggest(str(label), names)}; it has"
                    f" {', '.join(f'{index} ({name})' for name, index in names.items())}"
                )
        return tuple(known[str(label)] for label in self.labels.values())

    def _load(self) -> tuple[Any, Any, int]:
        """Tokenizer, model, and how many tokens it reads."""
        if not self._loaded:
            device = self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
            tokenizer = self._read(AutoTokenizer.from_pretrained)
            model, report = self._read(
                AutoModelForSequenceClassification.from_pretrained,
                dtype=getattr(torch, self.dtype),
                output_loading_info=True,
            )
            if report["missing_keys"]:
                missing = ", ".join(sorted(report["missing_keys"]))
                raise ConfigError(
                    f"the model at {self.path!r} is no reward model: it lacks {missing}, which would be drawn at random"
                )
            readable = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
            limit = min(readable, tokenizer.model_max_length, self.max_tokens or readable)
            self._loaded.append((tokenizer, model.to(device).eval(), limit))
        return self._loaded[0]

    def _read(self, from_pretrained: Callable[..., Any], **options: Any) -> Any:
        try:
            return from_pretrained(self.path, **options)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no model at {self.path!r}: {error}") from error

    def _text(self, tokenizer: Any, completion: Completion) -> str:
        content = completion.prompt.content
        if self._template is None and tokenizer.chat_template is None:
            if not isinstance(content, str):
                raise DataError(
                    f"the reward model at {self.path!r} has no chat template, and the prompts are chats; set"
                    " chat_template"
                )
            return content + completion.text
        messages = [{"role": "user", "content": content}] if isinstance(content, str) else list(content)
        messages.append({"role": "assistant", "content": completion.text})
        rendered: str = tokenizer.apply_chat_template(messages, chat_template=self._template, tokenize=False)
        return rendered

    def _rows(self, tokenizer: Any, model: Any, limit: int, texts: Sequence[str]) -> dict[str, Tensor | Exception]:
        """Outputs of the model, or why there are none, by text."""
        rendered = self._template is not None or tokenizer.chat_template is not None
        encoded = [tokenizer(text, add_special_tokens=not rendered)["input_ids"] for text in texts]
        rows: dict[str, Tensor | Exception] = {}
        for text, ids in zip(texts, encoded, strict=True):
            if not 0 < len(ids) <= limit:
                rows[text] = ValueError(f"{len(ids)} tokens, where the reward model reads 1 to {limit}")
        fitting = sorted((i for i, text in enumerate(texts) if text not in rows), key=lambda i: len(encoded[i]))
        for start in range(0, len(fitting), self.batch_size):
            chosen = fitting[start : start + self.batch_size]
            with torch.inference_mode():
                logits_BL = _forward(model, [encoded[i] for i in chosen]).double().cpu()
            rows |= zip((texts[i] for i in chosen), _activated(logits_BL, self.activation), strict=True)
        return rows


def _forward(model: Any, encoded: Sequence[Sequence[int]]) -> Tensor:
    """The model's outputs, (B, L)."""
    longest = max(map(len, encoded))
    # A decoder's score stands at its last token that is not the padding of its config.  A config without padding means
    # the very last token, also where that one ends the text, so the padding must be a token that does not occur.
    configured = padding = model.config.pad_token_id
    if padding is None and len(encoded) > 1:
        padding = min({*range(model.config.vocab_size)}.difference(*encoded), default=None)
        if padding is None:
            return torch.cat([_forward(model, [ids]) for ids in encoded])
    ids_BT = torch.tensor([[*ids, *[padding] * (longest - len(ids))] for ids in encoded])
    mask_BT = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in encoded])
    model.config.pad_token_id = padding
    try:
        logits_BL: Tensor = model(input_ids=ids_BT.to(model.device), attention_mask=mask_BT.to(model.device)).logits
    finally:
        model.config.pad_token_id = configured
    return logits_BL


def _activated(logits_BL: Tensor, activation: Activation) -> Tensor:
    match activation:
        case "sigmoid":
            return logits_BL.sigmoid()
        case "softmax":
            return logits_BL.softmax(1)
    return logits_BL


def _finite(score: float) -> float | Exception:
    return score if torch.isfinite(torch.tensor(score)) else ValueError(f"the reward model gave {score}")


def _read_template(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"chat_template must be a file with a jinja template: {error}") from error
