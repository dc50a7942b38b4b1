"""A tokenizer trained on prompts and answers: byte-level BPE, with a chat template."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from morl.types import Prompt
from morl_playground.tokenizer import END, PAD

ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
_CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_LONG_LINE = 20


def train_bpe(prompts: Sequence[Prompt], answers: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer for these prompts and answers; decoding gives back what was encoded, to the letter.

    Lines that at least half of the prompts share are tokens of their own: instructions that are the same everywhere
    tell so small a policy nothing, and cost it most of its time.

    Args:
        prompts: plain text or chats.
        answers: to them.
        vocab_size: tokens to learn, those of the shared lines apart.
    """
    asked = ["\n".join(_texts(prompt)) for prompt in prompts]
    lines = _shared_lines(asked)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[PAD, END, *ROLES],
        show_progress=False,
    )
    shared = re.compile("|".join(map(re.escape, lines)) or r"(?!)")
    tokenizer.train_from_iterator([shared.sub("", text) for text in asked] + list(answers), trainer)
    tokenizer.add_tokens([AddedToken(line, normalized=False) for line in lines])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES),
        chat_template=_CHAT,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _texts(prompt: Prompt) -> Iterable[str]:
    if isinstance(prompt.content, str):
        return [prompt.content]
    return [str(message["content"]) for message in prompt.content]


def _shared_lines(texts: Sequence[str]) -> list[str]:
    """Longest first, so that none is cut short by another that it begins with."""
    counts = Counter(line for text in texts for line in set(text.split("\n")))
    # Only lines with a space: the byte-level decoder would take letters of others for bytes.
    lines = [line for line, n in counts.items() if n >= len(texts) / 2 and len(line) >= _LONG_LINE and " " in line]
    return sorted(lines, key=lambda line: (-len(line), line))
