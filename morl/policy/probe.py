"""What a model can do, asked of the model itself on a toy batch when it is loaded.

Is it causal?  Does it draw noise, or change its weights?  Is its default attention the one that it was written with?
Can it be computed packed?  Trials of numbers run in float32, on a small copy if the weights are in half precision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from attrs import define, evolve, field
from torch import Tensor, nn
from transformers import PreTrainedModel

from morl.errors import ConfigError
from morl.policy.model import PolicyModel
from morl.policy.packing import SharedPromptAttention
from morl.policy.small import float32_copy

WINDOW = 128
"""Sliding windows up to this length are exceeded by the toy batch."""

TOLERANCE = 1e-4
"""Of float32 log-probabilities by another way through a model."""

LOOSE = 1e-3
"""The same where the least likely tokens count, or a false alarm would cost more: 30 layers of a real model differ by
6e-5 over its whole vocabulary."""


@define(eq=False)
class _Recorder(SharedPromptAttention):
    """Also notes the window that each layer asked for, and how often."""

    windows: dict[int, int | None] = field(factory=dict, init=False)
    calls: Counter[int] = field(factory=Counter, init=False)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        self.windows[layer] = options["sliding_window"]
        self.calls[layer] += 1
        return super().attend(layer, query, key, value, **options)


@contextmanager
def watched_weights(model: PreTrainedModel) -> Iterator[None]:
    """Refuses, at its end, a model that has changed its weights while it was computed.

    RWKV scales them down in its first forward pass in evaluation mode, and again when what was exported is loaded.

    Raises:
        ConfigError: it has.
    """
    parameters = list(model.parameters())
    before = [parameter._version for parameter in parameters]
    yield
    if [parameter._version for parameter in parameters] != before:
        raise ConfigError(
            f"{type(model).__name__} changes its weights while it computes: what is exported would not be what was"
            " trained; use another model"
        )


@torch.no_grad()
def check_causal(model: PreTrainedModel) -> None:
    """Refuses a float32 model whose probabilities of a token depend on what follows it, as an encoder's do.

    On the tokens, or on their number alone, as in ProphetNet, which could not be padded.

    Raises:
        ConfigError: by how much.
    """
    begin = 12
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.randint(vocabulary, (2, 2 * begin), generator=torch.Generator().manual_seed(0)).to(model.device)
    ids[1, :begin] = ids[0, :begin]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        rows = (ids[0], ids[0], ids[1], ids[0, :begin])
        got = [model(input_ids=row[None], use_cache=False).logits[0, :begin].float().log_softmax(-1) for row in rows]
    except Exception:  # noqa: BLE001 - any model code may run here; later trials say what is wrong with it
        return
    finally:
        for module, mode in modes:
            module.training = mode
    again, *others = ((got[0] - other).abs().max().item() for other in got[1:])
    difference = max(others)
    if difference > LOOSE and again <= TOLERANCE:  # noise is another fault, with an error of its own
        raise ConfigError(
            f"{type(model).__name__} is not causal: what it says of a token changes by {difference:.1e} with the tokens"
            " after it, or with their number; an encoder cannot be a policy, unless its config.json makes a decoder of"
            " it (is_decoder: true)"
        )


@torch.no_grad()
def check_noise(policy: PolicyModel) -> None:
    """Refuses a policy whose passes over the same tokens differ: what sampled would not be what is trained.

    Raises:
        ConfigError: by how much they differ.
    """
    plan = policy.make_plan(*toy_batch(policy.base_model.config)).to(policy.base_model.device)
    first, second = policy(plan).logprobs_T, policy(plan).logprobs_T
    if not torch.equal(first.isnan(), second.isnan()) or (first - second).abs().max() > TOLERANCE:
        raise ConfigError(
            f"{type(policy.base_model).__name__} draws noise while it computes: two passes over the same tokens differ"
            f" by {(first - second).abs().max().item():.1e}; switch its noise off in config.json (dropout, layerdrop,"
            " jitter), or policy.gradient_checkpointing, which keeps the noise of some older models"
        )


def default_attention_fault(model: PreTrainedModel) -> str | None:
    """Whether a float32 model's default attention computes something else than the one it was written with, "eager".

    Transformers leaves out, without a word, what a faster kernel cannot do, for instance caps of scores.
    """
    if not getattr(type(model), "_supports_attention_backend", False):
        return None
    own = model.config._attn_implementation
    try:
        default = _logprobs(model)
        model.set_attn_implementation("eager")
        difference = (_logprobs(model) - default).abs().max().item()
    except Exception:  # noqa: BLE001 - a model that has no eager attention has one only
        return None
    finally:
        model.set_attn_implementation(own)
    if difference <= LOOSE:
        return None
    return f"log-probabilities by attention {own!r} differ from those of 'eager' by {difference:.1e}"


def packing_fault(model: nn.Module) -> str | None:
    """Why a model must not be computed packed, or None.

    Log-probabilities of two prompts with completions are compared with the model's own attention.  Windows longer than
    the toy batch cannot show in numbers; that each layer asks for the window of the config is checked instead.
    """
    base = PolicyModel(model, packed=False).base_model
    if not getattr(type(base), "_supports_attention_backend", False):
        return f"{type(base).__name__} does not let its attention be replaced"
    trial = float32_copy(base)
    own_attention = trial.config._attn_implementation
    try:
        expected = _logprobs(trial)
        with torch.no_grad():
            packed = PolicyModel(trial, packed=True)
            plan = packed.make_plan(*toy_batch(trial.config)).to(trial.device)
            assert plan.attention is not None
            recorder = _Recorder(plan.attention.segments)
            got = packed(evolve(plan, attention=recorder)).logprobs_T
    except ConfigError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - any model code may run here, and the padded path remains
        return f"{type(base).__name__} fails with packed tokens: {type(error).__name__}: {error}"
    finally:
        trial.set_attn_implementation(own_attention)
    return _disagreement(trial, recorder, (got - expected).abs().max().item())


@torch.no_grad()
def _logprobs(model: PreTrainedModel) -> Tensor:
    padded = PolicyModel(model, packed=False)
    logprobs_T: Tensor = padded(padded.make_plan(*toy_batch(model.config)).to(model.device)).logprobs_T
    return logprobs_T


def _disagreement(base: PreTrainedModel, recorder: _Recorder, difference: float) -> str | None:
    config = base.config.get_text_config()
    name = type(base).__name__
    layer_types = getattr(config, "layer_types", None)
    if not layer_types:
        sliding = getattr(config, "sliding_window", None) is not None
        layer_types = ["sliding_attention" if sliding else "full_attention"] * config.num_hidden_layers
    expected = {
        layer: {"full_attention": None, "sliding_attention": getattr(config, "sliding_window", None)}.get(kind, kind)
        for layer, kind in enumerate(layer_types)
    }
    if max(recorder.calls.values(), default=1) > 1:
        # Decoding keeps the keys and values of one call per layer.
        return f"attention layers of {name} call their attention more than once"
    if recorder.windows != expected:
        return f"attention layers of {name} are not all full or sliding attention"
    if not difference <= TOLERANCE:
        return f"log-probabilities differ by {difference:.1e} from the model's own attention (tolerance {TOLERANCE:g})"
    return None


def toy_batch(config: Any) -> tuple[list[list[int]], Tensor, Tensor, Tensor]:
    """Two prompts and five completions of different lengths, one of them longer than a short sliding window."""
    config = config.get_text_config()
    longest = (short_window(config) or 4) + 8
    lengths = torch.tensor([3, longest, 5, 1, 7])
    mask_BT = torch.arange(longest) < lengths.unsqueeze(1)
    ids = torch.randint(config.vocab_size, (5, longest), generator=torch.Generator().manual_seed(0))
    prompts = [ids[0, :9].tolist(), ids[1, :4].tolist()]
    return prompts, torch.tensor([0, 0, 0, 1, 1]), ids * mask_BT, mask_BT


def short_window(config: Any) -> int | None:
    """The sliding window of a text config, if it is one that a trial can exceed."""
    window = getattr(config, "sliding_window", None)
    return window if isinstance(window, int) and window <= WINDOW else None
