"""A linear layer of four bits; needs bitsandbytes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from morl.policy.codes import dense_weight
from morl.policy.options import Quantisation

_layers: Any = import_module("bitsandbytes.nn")  # partly typed, and not everywhere


class Linear4bit(_layers.Linear4bit):  # type: ignore[misc]
    """bitsandbytes' layer, which peft knows, with one way to compute: the dense matrix, made anew for each pass.

    Its own forward chooses among kernels by device, by the number of rows and by whether gradients are wanted, one of
    which, on CPUs with instructions for bfloat16, rounds the scales.  Tokens would be sampled by one network and
    trained by another.
    """

    @classmethod
    def of(cls, dense: nn.Linear, options: Quantisation) -> Linear4bit:
        """The layer with the weight quantised where it lies, and the bias as it is."""
        layer = cls(
            dense.in_features,
            dense.out_features,
            bias=False,
            compute_dtype=dense.weight.dtype,
            compress_statistics=options.double,
            quant_type=options.type,
            device="meta",
        )
        layer.weight = _layers.Params4bit(
            dense.weight.data,
            requires_grad=False,
            compress_statistics=options.double,
            quant_type=options.type,
            module=layer,
        ).to(dense.weight.device)
        layer.bias = dense.bias
        return layer

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        # Without the scales: the base of adapters is made again from its model, and is not in checkpoints.
        nn.Module._save_to_state_dict(self, destination, prefix, keep_vars)

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = _Product.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    """x W^T + b, which keeps the codes for its backward in place of the matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight, ctx.dtype = weight, x.dtype
        return nn.functional.linear(x, dense_weight(weight).to(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return (gradient @ dense_weight(ctx.weight).to(gradient.dtype)).to(ctx.dtype), None, None
