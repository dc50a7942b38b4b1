"""Optimizer steps on bfloat16 weights that are not lost to rounding.

bfloat16 has 8 significant bits: an update below 0.2% of a weight is rounded away, and at usual learning rates nearly
all are.  Here the optimizer steps on a float32 copy, which is rounded up or down at random with the probabilities that
make the result right on average (Zamirai et al., arXiv 2010.06192).
"""

from __future__ import annotations

from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn

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
    """Lets an optimizer step on float32 copies of its bfloat16 weights; its state is in float32 thereby.

    The copies take the weights' places in the optimizer, and the weights stay the tensors that they are: DDP hears of
    gradients through the weights' own nodes of the graph, which another dtype would replace, and ranks would part.

    Args:
        optimizer: any that reads its weights from `param_groups`, whose steps are between `begin` calls.
    """

    optimizer: torch.optim.Optimizer
    _seed: int = field(init=False, default=0)
    _generators: dict[torch.device, torch.Generator] = field(init=False, factory=dict)
    _narrow: dict[nn.Parameter, nn.Parameter] = field(init=False, factory=dict)

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

    def abandon(self) -> None:
        """Brings the weights back to their places, unchanged, as after a step that was interrupted."""
        for wide, weight in self._narrow.items():
            weight.grad = None if wide.grad is None else wide.grad.bfloat16()
        self._put_back()

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._widen()

    @torch.no_grad()
    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for wide, weight in self._narrow.items():
            weight.copy_(rounded(wide.data, self._generator(wide.device)))
        self._put_back()

    def _widen(self) -> None:
        for group in self.optimizer.param_groups:
            group["params"] = [self._copy(weight) for weight in group["params"]]

    def _copy(self, weight: nn.Parameter) -> nn.Parameter:
        """What stands for a weight during a step: a float32 copy with its gradient and its state, or itself."""
        if weight.dtype != torch.bfloat16:
            return weight
        wide = nn.Parameter(weight.detach().float(), weight.requires_grad)
        if weight.grad is not None:
            wide.grad, weight.grad = weight.grad.float(), None
        self._narrow[wide] = weight
        self._move_state(weight, wide)
        return wide

    def _put_back(self) -> None:
        for group in self.optimizer.param_groups:
            group["params"] = [self._narrow.get(weight, weight) for weight in group["params"]]
        for wide, weight in self._narrow.items():
            self._move_state(wide, weight)
        self._narrow = {}

    def _move_state(self, source: nn.Parameter, target: nn.Parameter) -> None:
        if source in self.optimizer.state:
            self.optimizer.state[target] = self.optimizer.state.pop(source)

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]
