"""CPU time of sampling: morl's transformers backend against `model.generate` of transformers.

    OMP_NUM_THREADS=1 python benchmarks/decode.py [--rounds 5] [--profile]

16 prompts x 8 completions of randomly initialised Qwen2 models, float32, one thread; the two take turns, and medians of
CPU seconds are printed.  `generate` runs with SDPA attention and `do_sample`; it returns no log-probabilities, morl's
backend does, and decodes the texts.  In `natural` the end-of-sequence logit is raised so that a completion ends at each
token with probability 1/35, at 256 tokens at the latest; elsewhere it never ends before 64.
"""

from __future__ import annotations

import argparse
import cProfile
import math
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from morl.policy.attention import ATTENTION
from morl.rollout.transformers import TransformersBackend
from morl.types import EncodedPrompt, Prompt, Sampling

VOCABULARY, EOS, PROMPTS, GROUP = 512, 2, 16, 8
SIZES = {
    "1M": {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4},
    "10M": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6},
}
CASES = {  # prompt tokens (shortest, longest), most tokens, probability of ending
    "short prompts, fixed 64": (8, 12, 64, 0.0),
    "190-token prompts, fixed 64": (190, 190, 64, 0.0),
    "short prompts, natural": (8, 12, 256, 1 / 35),
    "190-token prompts, natural": (190, 190, 256, 1 / 35),
}


def make_model(size: str, ending: float) -> Any:
    """A random model whose next-token distribution is nearly uniform but for the end-of-sequence token."""
    options: dict[str, Any] = SIZES[size] | {"num_key_value_heads": SIZES[size]["num_attention_heads"] // 2}
    torch.manual_seed(0)
    make: Any = Qwen2ForCausalLM  # transformers leaves it untyped, as the next two
    model = make(Qwen2Config(vocab_size=VOCABULARY, eos_token_id=EOS, **options)).eval()
    bias = torch.zeros(VOCABULARY)
    bias[EOS] = math.log(ending * (VOCABULARY - 1) / (1 - ending)) if ending else -1e4
    model.lm_head.bias = nn.Parameter(bias)
    return model


def make_tokenizer() -> Any:
    """One word per id."""
    words = Tokenizer(WordLevel({f"t{i}": i for i in range(VOCABULARY)}, unk_token="t0"))
    words.pre_tokenizer = WhitespaceSplit()
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=words, eos_token=f"t{EOS}", pad_token="t0", padding_side="left")


def contestants(size: str, case: str) -> dict[str, Callable[[int], int]]:
    """Each takes a seed and returns how many tokens it sampled."""
    shortest, longest, max_tokens, ending = CASES[case]
    model, tokenizer = make_model(size, ending), make_tokenizer()
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(shortest, longest + 1, (PROMPTS,), generator=generator).tolist()
    ids = [tuple(torch.randint(3, VOCABULARY, (n,), generator=generator).tolist()) for n in lengths]
    prompts = [EncodedPrompt(Prompt(""), "", i, row) for row, i in enumerate(ids)]
    padded = tokenizer.pad({"input_ids": [list(i) for i in ids]}, return_tensors="pt")
    backend = TransformersBackend()
    backend.start(SimpleNamespace(model=model, packed=True), tokenizer, "")  # type: ignore[arg-type]

    def morl(seed: int) -> int:
        model.set_attn_implementation(ATTENTION)
        seeds = [seed * PROMPTS + p for p in range(PROMPTS)]
        return int(backend.generate(prompts, GROUP, Sampling(max_tokens=max_tokens), seeds).completion_mask_BT.sum())

    def transformers(seed: int) -> int:
        model.set_attn_implementation("sdpa")
        torch.manual_seed(seed)
        make: Any = GenerationConfig
        config = make(do_sample=True, top_k=0, max_new_tokens=max_tokens, eos_token_id=EOS, pad_token_id=0)
        config.num_return_sequences = GROUP
        with torch.no_grad():
            out = model.generate(**padded, generation_config=config)[:, max(lengths) :]
        ended = (out == EOS).cumsum(1)
        return int((ended == 0).sum() + (ended[:, -1] > 0).sum())

    return {"morl": morl, "generate": transformers}


def main() -> None:
    """Prints one line per size and case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--cases", nargs="*", default=list(CASES), help="prefixes of case names")
    parser.add_argument("--profile", action="store_true", help="profile morl's side instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for size in options.sizes:
        for case in (c for c in CASES if c.startswith(tuple(options.cases))):
            runs = contestants(size, case)
            if options.profile:
                runs["morl"](0)
                cProfile.runctx("runs['morl'](1)", globals(), {"runs": runs}, sort="tottime")
                continue
            seconds: dict[str, list[float]] = {name: [] for name in runs}
            tokens = dict.fromkeys(runs, 0)
            for seed in range(options.rounds + 1):
                for name, run in runs.items():
                    began = time.process_time()
                    count = run(seed)
                    if seed:  # the first round warms up
                        seconds[name].append(time.process_time() - began)
                        tokens[name] += count
            ours, theirs = (statistics.median(seconds[name]) for name in ("morl", "generate"))
            print(
                f"{size:>4} {case:28} morl {ours:6.2f} s ({tokens['morl'] // options.rounds} tokens)"
                f"  generate {theirs:6.2f} s ({tokens['generate'] // options.rounds} tokens)  {theirs / ours:5.1f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
