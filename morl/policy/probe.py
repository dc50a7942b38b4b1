"""Can this model be computed packed?  Asked of the model itself, on a toy batch, when it is loaded."""

from __future__ import annotations

from typing import Any

import torch
from attrs import define, evolve, field
from torch import Tensor, nn
from transformers import PreTrainedModel

from morl.policy.model import PolicyModel
from morl.policy.packing import SharedPromptAttention

_WINDOW = 128  # sliding windows up to this length are exceeded by the toy batch
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
_LOOSE = 0.1  # of log-probabilities in half precision


@define(eq=False)
class _Recorder(SharedPromptAttention):
    """Also notes the window that each layer asked for."""

    windows: dict[int, int | None] = field(factory=dict, init=False)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        self.windows[layer] = options["sliding_window"]
        return super().attend(layer, query, key, value, **options)


def packing_fault(model: nn.Module) -> str | None:
    """Why a model must not be computed packed, or None.

    Log-probabilities of two prompts with completions are compared with the model's own attention.  Windows longer than
    the toy batch cannot show in numbers; that each layer asks for the window of the config is checked instead.
    """
    padded = PolicyModel(model, packed=False)
    base = padded.base_model
    if not getattr(type(base), "_supports_attention_backend", False):
        return f"{type(base).__name__} does not let its attention be replaced"
    own_attention = base.config._attn_implementation
    device = next(model.parameters()).device
    with torch.no_grad():
        expected = padded(padded.make_plan(*_toy_batch(base.config)).to(device)).logprobs_T
        try:
            packed = PolicyModel(model, packed=True)
            plan = packed.make_plan(*_toy_batch(base.config)).to(device)
            assert plan.attention is not None
            recorder = _Recorder(plan.attention.segments)
            got = packed(evolve(plan, attention=recorder)).logprobs_T
        except Exception as error:  # noqa: BLE001 - any model code may run here, and the padded path remains
            return f"{type(base).__name__} fails with packed tokens: {type(error).__name__}: {error}"
        finally:
            base.set_attn_implementation(own_attention)
    return _disagreement(base, recorder.windows, (got - expected).abs().max().item())


def _disagreement(base: PreTrainedModel, windows: dict[int, int | None], difference: float) -> str | None:
    config = base.config.get_text_config()
    layer_types = getattr(config, "layer_types", None)
    if not layer_types:
        sliding = getattr(config, "sliding_window", None) is not None
        layer_types = ["sliding_attention" if sliding else "full_attention"] * config.num_hidden_layers
    expected = {
        layer: {"full_attention": None, "sliding_attention": getattr(config, "sliding_window", None)}.get(kind, kind)
        for layer, kind in enumerate(layer_types)
    }
    if windows != expected:
        return f"attention layers of {type(base).__name__} are not all full or sliding attention"
    tolerance = _TOLERANCE.get(base.dtype, _LOOSE)
    if not difference <= tolerance:
        return (
            f"log-probabilities differ by {difference:.1e} from the model's own attention (tolerance {tolerance:.0e})"
        )
    return None


def _toy_batch(config: Any) -> tuple[list[list[int]], Tensor, Tensor, Tensor]:
    """Two prompts and five completions of different lengths, one of them longer than a short sliding window."""
    config = config.get_text_config()
    window = getattr(config, "sliding_window", None)
    longest = window + 8 if window is not None and window <= _WINDOW else 12
    lengths = torch.tensor([3, longest, 5, 1, 7])
    mask_BT = torch.arange(longest) < lengths.unsqueeze(1)
    ids = torch.randint(config.vocab_size, (5, longest), generator=torch.Generator().manual_seed(0))
    prompts = [ids[0, :9].tolist(), ids[1, :4].tolist()]
    return prompts, torch.tensor([0, 0, 0, 1, 1]), ids * mask_BT, mask_BT
