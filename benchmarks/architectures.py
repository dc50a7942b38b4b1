"""Every causal architecture of transformers, tiny and with random weights: is it trained and sampled right, or refused?

    python benchmarks/architectures.py                 # all of them: some minutes of one core
    python benchmarks/architectures.py llama nemotron_h

Log-probabilities of unequal rows in training, and of samples after unequal prompts, are compared with the model's own
forward pass of each sequence alone, with its plainest attention.  The sizes that make a model tiny are in
`architectures.json`; one that they do not fit is `not made`, and nothing is known of it.  Exits with 1 if a model that
was accepted is off by more than the tolerance.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import multiprocessing
import queue
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from morl.errors import MorlError
from morl.policy.load import wrap_policy
from morl.policy.model import PolicyModel
from morl.rollout.transformers import TransformersBackend
from morl.types import EncodedPrompt, Prompt, Sampling

TOLERANCE = 1e-4
LARGEST = 20_000_000
"""Parameters above which a model is not made: its sizes have other names."""
SECONDS = 120
SETTINGS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
VOCABULARY = SETTINGS["sizes"]["vocab_size"]
_DECODERS = ("text_config", "decoder", "decoder_config")


class Tokenizer:
    """As much of one as sampling asks for; many tokens end, so that rows leave at different steps."""

    eos_token_id = tuple(range(2, 12))

    def batch_decode(self, rows: list[list[int]], **options: Any) -> list[str]:
        """Texts, which nobody reads here."""
        return [" ".join(map(str, row)) for row in rows]


def sizes_of(config: Any) -> dict[str, Any]:
    """Those of the small sizes that a config class knows, also those of the text model inside."""
    default = config()
    known = set(default.to_dict()) - set(config.attribute_map)
    sizes = {name: value for name, value in SETTINGS["sizes"].items() if name in known}
    for name in ("q_lora_rank", "sliding_window"):  # without them it is another variant, which None stands for
        if getattr(default, name, 0) is None:
            sizes.pop(name, None)
    parts = {name: part for name, part in config.sub_configs.items() if name in _DECODERS}
    inner = {name: part for name, part in parts.items() if part not in (config, transformers.AutoConfig)}
    return sizes | {name: sizes_of(part) for name, part in inner.items()}


def make(kind: str) -> Any:
    """A tiny model with weights large enough that attention shows in the logits."""
    config = CONFIG_MAPPING[kind]
    options = sizes_of(config) | SETTINGS["options"].get(kind, {})
    without = SETTINGS["without"].get(kind, [])
    torch.manual_seed(0)
    settings = config(**{name: value for name, value in options.items() if name not in without})
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(settings).parameters())
    if size > LARGEST:
        raise ValueError(f"{size} parameters")
    model = AutoModelForCausalLM.from_config(settings, dtype=torch.float32).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    return model


def alone(model: Any, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Log-probabilities of a completion by the forward pass of its sequence alone."""
    logits = model(input_ids=torch.tensor([[*prompt, *completion]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]


@torch.no_grad()
def in_training(policy: PolicyModel, plain: Any, generator: torch.Generator) -> float:
    """Largest difference of the training forward pass."""
    lengths = torch.tensor([6, 1, 19, 2, 13, 23])
    mask_BT = torch.arange(int(lengths.max())) < lengths[:, None]
    ids_BT = torch.randint(3, VOCABULARY, mask_BT.shape, generator=generator) * mask_BT
    prompts = [torch.randint(3, VOCABULARY, (n,), generator=generator).tolist() for n in (5, 11, 1)]
    groups = torch.tensor([1, 0, 1, 2, 0, 2])
    got = policy(policy.make_plan(prompts, groups, ids_BT, mask_BT)).logprobs_T
    rows = zip(groups.tolist(), ids_BT, mask_BT, strict=True)
    expected = torch.cat([alone(plain, prompts[group], ids[mask].tolist()) for group, ids, mask in rows])
    return (got - expected).abs().max().item()


@torch.no_grad()
def in_sampling(backend: TransformersBackend, plain: Any, generator: torch.Generator) -> float:
    """Largest difference of the log-probabilities of samples."""
    rows = [tuple(torch.randint(12, VOCABULARY, (n,), generator=generator).tolist()) for n in (9, 4, 1, 21, 9)]
    prompts = [EncodedPrompt(Prompt("text"), "text", row) for row in rows]
    batch = backend.generate(prompts, 2, Sampling(max_tokens=30), range(len(rows)))
    lengths = batch.completion_mask_BT.sum(1).tolist()
    groups = batch.group_ids_B.tolist()
    completions = zip(groups, lengths, batch.completion_ids_BT.tolist(), batch.rollout_logprobs_BT, strict=True)
    return max(
        (logprobs[:length] - alone(plain, list(rows[group]), ids[:length])).abs().max().item()
        for group, length, ids, logprobs in completions
    )


def outcome(kind: str) -> tuple[str, float]:
    """What becomes of an architecture, in words, and the larger difference."""
    try:
        model = make(kind)
        plain = copy.deepcopy(model)
        if getattr(type(model), "_supports_attention_backend", False):
            plain.set_attn_implementation("eager")
        alone(plain, [3, 4], [5, 6])
    except Exception as error:  # noqa: BLE001 - sizes that do not fit raise anything
        return f"not made: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", 0.0
    generator = torch.Generator().manual_seed(3)
    try:
        policy = wrap_policy(model)
        training = in_training(policy, plain, generator)
        backend = TransformersBackend()
        backend.start(policy, Tokenizer(), "")
        sampling = in_sampling(backend, plain, generator)
    except MorlError as error:
        return f"refused: {error}", 0.0
    way = f"{'packed' if policy.packed else 'padded'} training, {backend._decoding} sampling"
    return f"{way}: {training:.1e}, {sampling:.1e}", max(training, sampling)


def _answer(kind: str, answers: Any) -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    logging.getLogger("morl").setLevel(logging.ERROR)  # of what is slower
    answers.put(outcome(kind))


def main() -> int:
    """0, or 1 if an accepted model is off by more than the tolerance, or its process ended without an answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="MODEL_TYPE", help="default: all of transformers")
    forks = multiprocessing.get_context("fork")
    wrong = []
    for kind in parser.parse_args().kinds or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        answers = forks.Queue()
        process = forks.Process(target=_answer, args=(kind, answers))
        process.start()
        try:
            words, difference = answers.get(timeout=SECONDS)
        except queue.Empty:
            words, difference = f"not made: no answer in {SECONDS} s", 0.0
            process.kill()
        process.join()
        print(f"{kind}: {words}", flush=True)
        if not difference <= TOLERANCE:
            wrong.append(kind)
    print(f"off by more than {TOLERANCE:g}: {', '.join(wrong) or 'none'}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
