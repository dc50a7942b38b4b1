"""A tokenizer made for one task: its words, numbers, tags and runs of punctuation, losslessly."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

END, PAD, UNKNOWN = "<|end|>", "<|pad|>", "<|unknown|>"
# A word is one piece wherever it stands: a policy this small should not have to learn that ` 7` and `7` are the same.
# Nor does the arrow at the end of a prompt grow together with what follows it.
_PIECES = Regex(r"->|</?[a-z_]+>|[A-Za-z_]+|\d+|\n|<|(?:(?!->)[^A-Za-z_\d\n<])+")


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that knows every piece of `texts`; decoding gives back what was encoded, to the letter."""
    split = pre_tokenizers.Split(_PIECES, behavior="isolated")
    pieces = {piece for text in texts for piece, _ in split.pre_tokenize_str(text)}
    vocabulary = {piece: index for index, piece in enumerate([PAD, END, UNKNOWN, *sorted(pieces)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
