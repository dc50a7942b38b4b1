"""Optimizers whose state is smaller than the two float32 moments of AdamW."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import torch
from attrs import field, frozen
from jsonargparse.typing import NonNegativeFloat, PositiveFloat
from torch import nn
from torch.optim import Optimizer

from morl.errors import ConfigError
from morl.optim.optimizer import Decay, check_betas, check_decay, check_finite, decay_groups


@frozen
class Adafactor:
    """Adafactor (arXiv 1804.04235; transformers): second moments of matrices as a row and a column.

    The learning rate is `optimizer.lr` with its schedule; transformers' relative steps are off, as in its Trainer.

    Args:
        eps: of the squared gradient, and of the size of a weight.
        clip_threshold: root mean square that a step has at most.
        decay_rate: exponent of the decay of second moments.
        beta1: decay of a first moment; null keeps none.
        weight_decay: decoupled weight decay.
        decay: what the weight decay applies to: `all` weights, or `matrices`, all but norms and biases.
        scale_parameter: whether steps are in proportion to the size of the weight.

    Raises:
        ConfigError: an option out of its range, or without effect.
    """

    sharded: ClassVar[bool] = False

    eps: tuple[float, float] = field(default=(1e-30, 1e-3), converter=tuple)
    clip_threshold: PositiveFloat = 1.0
    decay_rate: float = field(default=-0.8, validator=check_finite)
    beta1: NonNegativeFloat | None = None
    weight_decay: NonNegativeFloat = field(default=0.0, validator=check_finite)
    decay: Decay = "all"
    scale_parameter: bool = False

    def __attrs_post_init__(self) -> None:
        if len(self.eps) != 2 or not all(0 <= eps < 1 for eps in self.eps):
            raise ConfigError(f"eps must be two numbers of at least 0 and below 1; got {list(self.eps)}")
        if not self.decay_rate < 0:
            raise ConfigError(f"decay_rate must be below 0; got {self.decay_rate}")
        if self.beta1 is not None and self.beta1 >= 1:
            raise ConfigError(f"beta1 must be below 1; got {self.beta1}")
        check_decay(self.decay, self.weight_decay)

    def __call__(self, parameters: Sequence[tuple[str, nn.Parameter]], lr: float) -> Optimizer:
        from transformers.optimization import Adafactor as Factored

        return Factored(
            decay_groups(parameters, self.decay),
            lr=lr,
            eps=self.eps,
            clip_threshold=self.clip_threshold,
            decay_rate=self.decay_rate,
            beta1=self.beta1,
            weight_decay=self.weight_decay,
            scale_parameter=self.scale_parameter,
            relative_step=False,
            warmup_init=False,
        )


@frozen
class QuantisedAdamW:
    """AdamW with moments of 8 bits, or paged out to the host's memory (bitsandbytes, arXiv 2110.02861).

    Weights of fewer than 4096 elements keep moments of 32 bits.

    Args:
        bits: of the moments, 8 or 32.
        paged: keep the moments where the host can take them when the GPU is full; needs a GPU.
        betas: decay of the two moments.
        eps: added to the denominator.
        weight_decay: decoupled weight decay.
        decay: what the weight decay applies to: `all` weights, or `matrices`, all but norms and biases.

    Raises:
        ConfigError: bitsandbytes is not installed; pages without a GPU; options out of range or without effect.
    """

    sharded: ClassVar[bool] = False

    bits: Literal[8, 32] = 8
    paged: bool = False
    betas: tuple[float, float] = field(default=(0.9, 0.999), converter=tuple, validator=check_betas)
    eps: NonNegativeFloat = field(default=1e-8, validator=check_finite)
    weight_decay: NonNegativeFloat = field(default=0.0, validator=check_finite)
    decay: Decay = "all"

    def __attrs_post_init__(self) -> None:
        check_decay(self.decay, self.weight_decay)
        if self.bits == 32 and not self.paged:
            raise ConfigError("bits: 32 without paged: true is plain AdamW; use the optimizer adamw")
        if find_spec("bitsandbytes") is None:
            raise ConfigError("adamw-8bit needs bitsandbytes; install it with: pip install 'morl-llm[quantised]'")
        if self.paged and not torch.cuda.is_available():
            raise ConfigError("paged: true needs a GPU, and there is none; leave it out, for 8 bits need none")

    def __call__(self, parameters: Sequence[tuple[str, nn.Parameter]], lr: float) -> Optimizer:
        import bitsandbytes

        name = f"{'Paged' if self.paged else ''}AdamW{'8bit' if self.bits == 8 else '32bit'}"
        made: Optimizer = _with_hooks(getattr(bitsandbytes.optim, name))(
            decay_groups(parameters, self.decay), lr=lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay
        )
        return made


def _with_hooks(kind: Any) -> Any:
    """The class with the hooks of torch around loading a state, which bitsandbytes' own loading leaves out.

    `StochasticRounding` widens weights of bfloat16 in them, to whose dtype the moments would be rounded.
    """

    def load_state_dict(self: Any, state_dict: Any, **options: Any) -> None:
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            hook(self, state_dict)
        kind.load_state_dict(self, state_dict, **options)
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    return type(kind.__name__, (kind,), {"load_state_dict": load_state_dict})
