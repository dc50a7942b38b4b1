"""Muon for the matrices inside a model, AdamW for everything else.

    M <- m M + (1 - m) G;   W <- W - lr (s orthogonalised(m M + (1 - m) G) + weight_decay W)

for the gradient G of a matrix W (rows x columns) and the momentum m.  `orthogonalised` brings all singular values near
1 by a few steps of Newton-Schulz, and s = 0.2 sqrt(max(rows, columns)) makes the step as large as AdamW's, so that both
have one learning rate.  Source: Jordan et al., https://kellerjordan.github.io/posts/muon; the scale s: arXiv
2502.16982, section 2.2.  The Muon itself is torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from attrs import field, frozen
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from morl.errors import ConfigError
from morl.optim.optimizer import AdamW, check_betas, check_finite

_NOT_HIDDEN = ("embed", "wte", "wpe", "lm_head", "embed_out", "score")
"""Parts of names of embeddings and heads, whose matrices are tables of rows and no maps."""


@frozen
class MuonAdamW:
    """Muon for the matrices inside the model, AdamW for embeddings, the head, norms and biases.

    Args:
        momentum: of Muon.
        nesterov: of Muon.
        ns_steps: steps of Newton-Schulz.
        adjust_lr: `match_rms_adamw` makes steps as large as AdamW's (arXiv 2502.16982), `original` scales them by
            sqrt(max(1, rows / columns)).
        weight_decay: decoupled, of both.
        adamw_lr: learning rate of what AdamW trains; null takes `optimizer.lr`.
        betas: of AdamW.
        eps: of AdamW.
        adamw_for: parts of names whose matrices AdamW trains.

    Raises:
        ConfigError: an option out of its range; a policy with no matrix for Muon.
    """

    momentum: NonNegativeFloat = field(default=0.95, validator=check_finite)
    nesterov: bool = True
    ns_steps: PositiveInt = 5
    adjust_lr: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    weight_decay: NonNegativeFloat = field(default=0.0, validator=check_finite)
    adamw_lr: NonNegativeFloat | None = None
    betas: tuple[float, float] = field(default=(0.9, 0.999), converter=tuple, validator=check_betas)
    eps: NonNegativeFloat = field(default=1e-8, validator=check_finite)
    adamw_for: list[str] = field(factory=lambda: [*_NOT_HIDDEN])

    def __attrs_post_init__(self) -> None:
        if self.momentum >= 1:
            raise ConfigError(f"momentum must be below 1; got {self.momentum}")

    def __call__(self, parameters: Sequence[tuple[str, nn.Parameter]], lr: float) -> Optimizer:
        matrices = [(name, tensor) for name, tensor in parameters if self._is_hidden(name, tensor)]
        rest = [(name, tensor) for name, tensor in parameters if not self._is_hidden(name, tensor)]
        if not matrices:
            raise ConfigError(
                "muon finds no matrix to train: all names hold one of adamw_for; use adamw, or mend the list"
            )
        sharded = any(isinstance(tensor, DTensor) for _, tensor in matrices)
        muon = (ShardedMuon if sharded else torch.optim.Muon)(
            [tensor for _, tensor in matrices],
            lr=lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov,
            ns_steps=self.ns_steps,
            adjust_lr_fn=self.adjust_lr,
        )
        if not rest:
            return muon
        adamw = AdamW(self.betas, self.eps, self.weight_decay)  # type: ignore[arg-type]
        return Joined([muon, adamw(rest, lr if self.adamw_lr is None else self.adamw_lr)])

    def _is_hidden(self, name: str, tensor: nn.Parameter) -> bool:
        return tensor.ndim == 2 and not any(part in name for part in self.adamw_for)


class ShardedMuon(torch.optim.Muon):
    """torch's Muon for sharded matrices, each of which is gathered once and orthogonalised whole.

    torch's own would multiply the shards, gather in every multiplication, and round sums of ranks to bfloat16: where
    singular values are far apart, as in matrices of adapters, its steps would be others than those of one process.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; every rank must call."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state, momentum = self.state[matrix], group["momentum"]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                moving = state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
                direction = matrix.grad.lerp(moving, momentum) if group["nesterov"] else moving
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(_step_along(direction, group))
        return loss


def _step_along(direction: Tensor, group: dict[str, Any]) -> Tensor:
    """What torch's Muon adds to a matrix for this direction, sharded as that is."""
    whole = direction.full_tensor() if isinstance(direction, DTensor) else direction
    moved = nn.Parameter(torch.zeros_like(whole))
    moved.grad = whole
    same = {name: group[name] for name in ("lr", "eps", "ns_coefficients", "ns_steps", "adjust_lr_fn")}
    torch.optim.Muon([moved], momentum=0.0, nesterov=False, weight_decay=0.0, **same).step()
    if not isinstance(direction, DTensor):
        return moved.data
    # Every rank has the whole and takes its own part: nothing is sent.
    return distribute_tensor(moved.data, direction.device_mesh, direction.placements, src_data_rank=None)


class Joined(Optimizer):
    """Several optimizers, each of its own parameters, as one: one state, one list of groups."""

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self._optimizers = [*optimizers]
        self._sizes = [len(optimizer.param_groups) for optimizer in optimizers]
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        first = 0
        for optimizer, size in zip(self._optimizers, self._sizes, strict=True):
            # Loading a state replaces both; groups and state are this optimizer's.
            optimizer.param_groups, optimizer.state = self.param_groups[first : first + size], self.state
            optimizer.step()
            first += size
        return loss
