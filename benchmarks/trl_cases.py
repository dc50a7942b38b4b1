"""What `against_trl.py` trains: models whose weights say when a completion ends, prompts, rewards."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from string import ascii_letters
from typing import Any

from attrs import frozen

PROMPTS, GROUP, MICRO_BATCH = 16, 8, 32
VOCABULARY, EOS, PAD = 2048, 1, 0
ENDINGS, TURN, NEVER = (1 / 27, 1 / 250), 1 / 400, 1e-18
SIZES: dict[str, dict[str, float]] = {
    "tiny": {
        "initializer_range": 0.2,  # probabilities that differ, as those of a trained model do
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    "1M": {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "10M": {
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
    },
    "0.5B": {
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
}


@frozen
class Case:
    """What is trained on.

    Attributes:
        size: key of `SIZES`.
        prompt_tokens: shortest and longest prompt.
        max_tokens: of a completion.
        natural: completions end by themselves, at very different lengths.
        inner_epochs: optimizer steps on each rollout batch.
        prompts: of a step.
        micro_batch: completions that TRL computes at once.
        defaults: what a pass holds, and whether activations are kept, is each framework's own choice: TRL's are 8
            completions and gradient checkpointing, morl's 2048 tokens on a CPU and none.
    """

    size: str
    prompt_tokens: tuple[int, int]
    max_tokens: int = 64
    natural: bool = False
    inner_epochs: int = 1
    prompts: int = PROMPTS
    micro_batch: int = MICRO_BATCH
    defaults: bool = False

    @property
    def micro_batch_tokens(self) -> int:
        """What TRL's micro-batch holds at most."""
        return self.micro_batch * (self.prompt_tokens[1] + self.max_tokens)


SHORT, LONG = (8, 24), (180, 200)
CASES = {
    "1M-short-fixed": Case("1M", SHORT),
    "1M-short-fixed-2-epochs": Case("1M", SHORT, inner_epochs=2),
    "1M-short-natural": Case("1M", SHORT, 256, natural=True),
    "1M-long-fixed": Case("1M", LONG),
    "1M-long-natural": Case("1M", LONG, 256, natural=True),
    "10M-short-fixed": Case("10M", SHORT),
    "10M-short-natural": Case("10M", SHORT, 256, natural=True),
    "1M-short-fixed-defaults": Case("1M", SHORT, micro_batch=8, defaults=True),
    "1M-long-natural-defaults": Case("1M", LONG, 256, natural=True, micro_batch=8, defaults=True),
    "10M-long-fixed": Case("10M", LONG),
    "135M-smollm2": Case("135M", (40, 64), 32, natural=True, prompts=2, micro_batch=16),
}
BY_DEFAULT = [name for name, case in CASES.items() if case.size in SIZES]
"""Without the real model, which needs the plugin morl-smollm, and takes a minute per step."""
NOUNS = ("bridge", "lion", "market", "piano", "snow", "teacher", "window", "candle")
ASKED = '<|im_start|>user\nWrite one sentence of 6 to 12 words with the word "{}".<|im_end|>\n<|im_start|>assistant\n'


def even(completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    """Share of tokens with an even id."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def various(completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    """Share of tokens that are different."""
    return [len(set(ids)) / len(ids) for ids in completion_ids]


REWARDS = {"even": even, "various": various}


def make_prompts(case: Case, count: int) -> list[str]:
    """Random letters, one token each; what SmolLM2 was taught to answer, where it is the model."""
    if case.size not in SIZES:
        return [ASKED.format(NOUNS[index % len(NOUNS)]) for index in range(count)]
    random = Random(0)
    return ["".join(random.choices(ascii_letters, k=random.randint(*case.prompt_tokens))) for _ in range(count)]


def set_endings(model: Any, endings: tuple[float, float]) -> None:
    """Makes a random model end at a token with one of two probabilities, depending on the token's half of the ids.

    The embeddings, which are the output weights too, get a component that all tokens share, and one whose sign is that
    of the half, so that a token is mostly followed by one of its own half.  Along these two the end-of-sequence
    embedding is moved until both probabilities are right.
    """
    import torch

    embeddings, norm = model.get_input_embeddings().weight, model.model.norm.weight
    half = len(embeddings) // 2
    embeddings[:, 0] = 5.0
    embeddings[:half, 1], embeddings[half:, 1] = 5.0, -5.0
    embeddings[EOS, 1] = 0.0
    for layer in model.model.layers:  # they leave the two components alone
        layer.self_attn.o_proj.weight[:2] = 0.0
        layer.mlp.down_proj.weight[:2] = 0.0
    ids = torch.randint(EOS + 1, half, (4, 64))
    norm[1] *= math.log(1 / TURN - 1) / 10 / model.model(ids).last_hidden_state[..., 1].mean()
    hidden = model.model(ids).last_hidden_state.flatten(0, 1)
    logits = hidden @ embeddings.T
    missing = (logits.logsumexp(1) - logits[:, EOS]).mean()
    first, second = (missing + math.log(p / (1 - p)) for p in endings)
    embeddings[EOS, 0] += (first + second) / 2 / hidden[:, 0].mean()
    embeddings[EOS, 1] += (first - second) / 2 / hidden[:, 1].mean()


def save_model(case: Case, folder: Path) -> None:
    """A model that ends as the case says, and its tokenizer, one token per letter; or SmolLM2 as it is."""
    if case.size not in SIZES:
        from morl_smollm.policy import SmolLM2

        shutil.copytree(SmolLM2().resolve(), folder)
        return
    import torch
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    make_config: Any = Qwen2Config  # transformers leaves these untyped
    make_model: Any = Qwen2ForCausalLM
    make_tokenizer: Any = PreTrainedTokenizerFast
    torch.manual_seed(0)
    common = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    config = make_config(**common | SIZES[case.size])
    model = make_model(config).eval()
    with torch.no_grad():
        set_endings(model, ENDINGS if case.natural else (NEVER, NEVER))
    model.save_pretrained(folder)

    # Byte-level BPE, for transformers makes every tokenizer of a Qwen2 folder one: its letters, and no merges.
    names = ["<|pad|>", "<|endoftext|>", *sorted(ByteLevel.alphabet())]
    names += [f"<{token}>" for token in range(len(names), config.vocab_size)]
    tokenizer = Tokenizer(BPE({name: token for token, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    make_tokenizer(tokenizer_object=tokenizer, eos_token=names[EOS], pad_token=names[PAD]).save_pretrained(folder)
