"""Optimizer steps on bfloat16 weights that are not lost to rounding.

bfloat16 has 8 significant bits: an update below 0.2% of a weight is rounded away, and at usual learning rates nearly
all are.  Here the optimizer steps on a float32 copy, which is rounded up or down at random with the probabilities that
make the result right on average (Zamirai et al., arXiv 2010.06192).
"""

from __future__ import annotations

from typing import Any

import torch
from attrs import define, field
from torch import Tensor

_LOST = 16
"""Bits of a float32 that a bfloat16 does not have."""


def rounded(values: Tensor, generator: torch.Generator) -> Tensor:
    """float32 values as bfloat16, up or down at random, right on average; what is not finite stays as it is.

    >>> generator = torch.Generator().manual_seed(0)
    >>> values = torch.full((1_000_000,), 1 + 2**-9)  # a quarter of the way from 1 to the next bfloat16
    >>> round(float((rounded(values, generator) > 1).float().mean()), 2)
    0.25
    """
    noise = torch.randint(2**_LOST, values.shape, generator=generator, device=values.device, dtype=torch.int32)
    bits = (values.view(torch.int32) + noise).bitwise_and_(-(2**_LOST))
    return torch.where(values.isfinite(), bits.view(torch.float32), values).to(torch.bfloat16)


@define(eq=False)
class StochasticRounding:
    """Widens the bfloat16 weights of an optimizer for each of its steps; its state is in float32 thereby.

    Args:
        optimizer: any, whose steps are between `begin` calls.
    """

    optimizer: torch.optim.Optimizer
    _seed: int = field(init=False, default=0)
    _generators: dict[torch.device, torch.Generator] = field(init=False, factory=dict)
    _narrow: list[torch.nn.Parameter] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.optimizer.register_step_pre_hook(self._before)
        self.optimizer.register_step_post_hook(self._after)
        # Loading brings a state to the dtype of its weight.
        self.optimizer.register_load_state_dict_pre_hook(lambda optimizer, state: self._widen())
        self.optimizer.register_load_state_dict_post_hook(lambda optimizer: self.abandon())

    def begin(self, seed: int) -> None:
        """The steps from here on draw from this seed, which is the same on every rank."""
        self._seed = seed
        self._generators = {}

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._widen()

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for parameter in self._narrow:
            parameter.grad = None
            parameter.data = rounded(parameter.data, self._generator(parameter.device))
        self._narrow = []

    def _widen(self) -> None:
        every = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self._narrow = [parameter for parameter in every if parameter.dtype == torch.bfloat16]
        for parameter in self._narrow:
            gradient, parameter.grad = parameter.grad, None
            parameter.data = parameter.data.float()
            if gradient is not None:
                parameter.grad = gradient.float()

    def abandon(self) -> None:
        """Brings weights back to bfloat16, as after a step that was interrupted."""
        for parameter in self._narrow:
            gradient, parameter.grad = parameter.grad, None
            parameter.data = parameter.data.bfloat16()
            if gradient is not None:
                parameter.grad = gradient.bfloat16()
        self._narrow = []

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]
