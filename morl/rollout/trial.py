"""How a model can be decoded, asked of the model itself before the first step.

A toy generation with unequal prompts, of which a row ends early, is compared with the model's own forward pass of each
sequence alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from morl.errors import ConfigError
from morl.policy.attention import ATTENTION
from morl.policy.model import PolicyModel
from morl.policy.probe import LOOSE, TOLERANCE, short_window
from morl.policy.small import exact_copy, float32_copy
from morl.rollout.lockstep import LockstepDecoder
from morl.rollout.loop import Decoder
from morl.rollout.packed import PackedDecoder
from morl.rollout.padded import PaddedDecoder
from morl.rollout.replica import build_replica, is_sharded
from morl.rollout.reread import RereadDecoder

_log = logging.getLogger(__name__)

Decoding: TypeAlias = Literal["packed", "padded", "lockstep", "reread"]
_COSTS = {
    "padded": "with padded prompts",
    "lockstep": "in waves of prompts of equal length",
    "reread": "by reading everything again for each token",
}

STEPWISE = 1e-2
"""Largest difference of a model that may be recurrent, whose steps round otherwise than many tokens at once, where it
cannot be asked in float64 whether it is rounding."""

_STEPS = 12
_ENDS = 2
"""Steps of the toy generation, and that after which its first row leaves."""


def make_decoder(
    decoding: Decoding, model: nn.Module, prompts: Sequence[tuple[int, ...]], max_tokens: int, prefill_tokens: int
) -> Decoder:
    """The decoder of that name, at work on these rows."""
    if decoding == "packed":
        return PackedDecoder(model, prompts, max_tokens, prefill_tokens)
    if decoding == "padded":
        return PaddedDecoder(model, prompts)
    return LockstepDecoder(model, prompts) if decoding == "lockstep" else RereadDecoder(model, prompts)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def attention(model: Any, name: str) -> Iterator[None]:
    """Within it the model has the attention `name`."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = base.config._attn_implementation
    if before == name:
        yield
        return
    base.set_attn_implementation(name)
    try:
        yield
    finally:
        base.set_attn_implementation(before)


def trial_model(policy: PolicyModel) -> Any:
    """A float32 model like the policy's, of all its kinds of layers, to try on."""
    base = policy.base_model
    # Of a sharded policy every rank would have to take part; a model like it, with other weights, is as telling.
    whole: Any = build_replica(base, packed=False) if is_sharded(base) else base
    return float32_copy(whole)


def choose_decoding(policy: PolicyModel) -> Decoding:
    """The fastest way of decoding that gives what the model says of each sequence alone.

    Raises:
        ConfigError: there is none.
    """
    trial = trial_model(policy)
    ways: list[Decoding] = ["padded", "lockstep", "reread"]
    if policy.packed:
        ways.insert(0, "packed")
    faults: list[str] = []
    for way in ways:
        fault = decoding_fault(trial, way, policy.own_attention)
        if fault is None:
            if faults:
                _log.warning("completions are sampled %s, which is slower: %s", _COSTS[way], "; ".join(faults))
            return way
        faults.append(f"{way}: {fault}")
    name = type(policy.base_model).__name__
    raise ConfigError(
        f"the rollout backend 'transformers' cannot sample from {name} what its own forward pass says"
        f" ({'; '.join(faults)}); use another backend (rollout.name), or another model"
    )


def decoding_fault(model: Any, way: Decoding, own_attention: str) -> str | None:
    """Why a float32 model must not be decoded this way, or None; the model is left as it was."""
    difference = _difference(model, way, own_attention)
    tolerance = LOOSE if way == "packed" else STEPWISE
    if isinstance(difference, float) and TOLERANCE < difference <= tolerance:
        # Rounding, or another formula: Zamba 2 and Nemotron-H clamp their time steps in one pass and not step by step.
        exact = exact_copy(model)
        exactly = None if exact is None else _difference(exact, way, own_attention)
        if isinstance(exactly, float):
            difference, tolerance = exactly, TOLERANCE
    if isinstance(difference, str):
        return difference
    if difference <= tolerance:
        return None
    return f"log-probabilities differ by {difference:.1e} from those of a sequence alone (tolerance {tolerance:g})"


@torch.no_grad()
def _difference(model: Any, way: Decoding, own_attention: str) -> float | str:
    """Largest difference between decoding and the forward pass of each sequence alone, or what went wrong."""
    got: list[Tensor] = []
    expected: list[Tensor] = []
    try:
        with evaluating(model):
            for rows, tokens_BS in toy_rows(model, equal=way == "lockstep"):
                with attention(model, own_attention):
                    expected += [alone(model, row, tokens) for row, tokens in zip(rows, tokens_BS, strict=True)]
                with attention(model, ATTENTION if way == "packed" else own_attention):
                    got += _decoded(make_decoder(way, model, rows, _STEPS + 1, 1024), tokens_BS)
    except Exception as error:  # noqa: BLE001 - any model code may run here, and another way may remain
        return f"{type(error).__name__}: {error}"
    # Of a NaN the comparisons say that it is not within the tolerance.
    return torch.stack([(a - b[: len(a)]).abs().max() for a, b in zip(got, expected, strict=True)]).max().item()


def toy_rows(model: Any, *, equal: bool) -> Iterator[tuple[list[tuple[int, ...]], Tensor]]:
    """Prompts of the rows of a generation, two of them alike, and the tokens (B, S) that continue them.

    One prompt is a single token, which some models compute otherwise; where all have to be equal it has a generation of
    its own.  Where the model has a short sliding window, the longest prompt is about to leave it.
    """
    config = model.config.get_text_config()
    window = short_window(config)
    long = 9 if window is None else max(9, window - 2)
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(config.vocab_size, (2, long), generator=generator).tolist()
    batches = [(long, long, long), (1, 1, 1)] if equal else [(long, 4, 1, long)]
    for lengths in batches:
        starts = [first, *[second] * (len(lengths) - 2), first]
        rows = [tuple(ids[:length]) for ids, length in zip(starts, lengths, strict=True)]
        yield rows, torch.randint(config.vocab_size, (len(rows), _STEPS), generator=generator).to(model.device)


def alone(model: Any, prompt: tuple[int, ...], tokens_S: Tensor) -> Tensor:
    """Log-probabilities (S + 1, V) after the prompt and after each token."""
    ids = torch.cat([torch.tensor(prompt, device=tokens_S.device), tokens_S])
    logits: Tensor = model(input_ids=ids[None], use_cache=False).logits[0, len(prompt) - 1 :]
    return logits.float().log_softmax(-1)


def _decoded(decoder: Decoder, tokens_BS: Tensor) -> list[Tensor]:
    """The same by a decoder, for each row as far as it went."""
    rows: list[list[Tensor]] = [[] for _ in tokens_BS]
    live = torch.arange(len(rows), device=tokens_BS.device)
    logits_NV = decoder.prefill()
    for step in range(tokens_BS.shape[1] + 1):
        for row, logits in zip(live.tolist(), logits_NV.float().log_softmax(-1), strict=True):
            rows[row].append(logits)
        if step == tokens_BS.shape[1]:
            break
        if step == _ENDS:  # the first row ends, and the last one takes its place
            order = torch.tensor([len(live) - 1, *range(1, len(live) - 1)], device=live.device)
            decoder.keep(order)
            live = live[order]
        logits_NV = decoder.step(tokens_BS[live, step])
    return [torch.stack(row) for row in rows]
