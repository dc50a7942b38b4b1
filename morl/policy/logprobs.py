"""Log-probabilities of chosen tokens with one vocabulary-sized tensor in memory instead of three.

`logits.log_softmax(-1).gather(...)` keeps the logits, their log-softmax and, in backward, a gradient of the same size.
Here the softmax overwrites the logits, and the gradient overwrites the softmax:

    d log p(y) / d logits = (onehot(y) - p) / temperature,          p = softmax(logits / temperature)
    d entropy / d logits = -p * (log p + entropy) / temperature
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

_CHUNK = {"cpu": 2**20, "other": 2**26}  # logits handled at a time: what a cache holds; few kernels on an accelerator


class TokenLogprobs(NamedTuple):
    """What the policy says about sampled tokens.

    A named tuple rather than an attrs class: DDP and FSDP2 look for tensors in the outputs of the module they wrap, and
    find them in tuples only.

    Attributes:
        logprobs_T: log-probability of each token, float32, with gradient.
        entropy_T: entropy in nats of the distribution each token was drawn from, float32, with gradient; None unless
            asked.
        router_loss: the model's own loss that balances the routers of its experts, with gradient; None unless asked.
    """

    logprobs_T: Tensor
    entropy_T: Tensor | None = None
    router_loss: Tensor | None = None


def token_logprobs(
    logits: Tensor, rows_T: Tensor, targets_T: Tensor, *, temperature: float | Tensor = 1.0, entropy: bool = False
) -> TokenLogprobs:
    """Log-probabilities of `targets_T` under softmax(logits / temperature).

    Args:
        logits: (..., V), of N positions in all.  OVERWRITTEN: the caller must not read them afterwards.
        rows_T: which of the N positions predicts each token; several tokens may share one.
        targets_T: the tokens.
        temperature: divides the logits; positive.  One for all tokens, or (T,), equal where tokens share a position.
        entropy: also return the entropy; its gradient takes no further tensor of the vocabulary's size.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0]])
        >>> token_logprobs(logits, torch.tensor([0, 0]), torch.tensor([0, 1])).logprobs_T.exp()
        tensor([0.5000, 0.5000])
    """
    # An operation such as tanh computes its gradient from its own output, which must then survive.
    if hasattr(logits.grad_fn, "_saved_result"):
        logits = logits.clone()
    logprobs_T, entropy_T = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        logits.flatten(0, -2), rows_T, targets_T, temperature, entropy
    )
    return TokenLogprobs(logprobs_T, entropy_T)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_NV: Tensor, rows_T: Tensor, targets_T: Tensor, temperature: float | Tensor, entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        chosen_T = logits_NV[rows_T, targets_T].float() / temperature
        lse_N = torch.empty(len(logits_NV), dtype=torch.float32, device=logits_NV.device)
        entropy_N = torch.empty_like(lse_N) if entropy else None
        temperature_N1 = None
        if isinstance(temperature, Tensor):
            temperature_N1 = torch.ones_like(lse_N).index_copy_(0, rows_T, temperature.float()).unsqueeze(-1)
        for rows in _chunks(logits_NV):
            chunk = logits_NV[rows]
            probs = chunk if chunk.dtype == torch.float32 else chunk.float()
            if temperature_N1 is not None:
                probs.div_(temperature_N1[rows])
            elif temperature != 1.0:
                probs.div_(temperature)
            peak = probs.amax(-1, keepdim=True)
            probs.sub_(peak)
            shifted = probs.clone() if entropy else None
            total = probs.exp_().sum(-1, keepdim=True)
            probs.div_(total)
            lse_N[rows] = (peak + total.log()).squeeze(-1)
            if entropy_N is not None and shifted is not None:
                # nan_to_num: a token that the model itself rules out (-inf) adds 0 * -inf.
                expected = torch.linalg.vecdot(probs, shifted.nan_to_num_(neginf=0.0))
                entropy_N[rows] = total.log().squeeze(-1) - expected
            if probs is not chunk:
                chunk.copy_(probs)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(logits_NV, rows_T, targets_T, entropy_N)
        return chosen_T - lse_N[rows_T], None if entropy_N is None else entropy_N[rows_T]

    @staticmethod
    def backward(
        ctx: Any, grad_T: Tensor | None, entropy_grad_T: Tensor | None = None
    ) -> tuple[Tensor, None, None, None, None]:
        probs_NV, rows_T, targets_T, entropy_N = ctx.saved_tensors
        N = len(probs_NV)
        if grad_T is None:
            grad_T = torch.zeros(rows_T.shape, dtype=torch.float32, device=probs_NV.device)
        grad_T = grad_T / ctx.temperature
        # In place: a second backward over the same graph finds a changed version of the saved tensor and is refused.
        factor_N1 = -_summed(grad_T, rows_T, N).unsqueeze(-1)
        if entropy_grad_T is None:
            probs_NV.mul_(factor_N1)
        else:
            entropy_grad_N1 = _summed(entropy_grad_T / ctx.temperature, rows_T, N).unsqueeze(-1)
            for rows in _chunks(probs_NV):
                probs = probs_NV[rows]
                # clamp: a probability of 0 times -inf would be NaN.
                surprise = probs.float().log().clamp(min=-1e4) + entropy_N[rows].unsqueeze(-1)
                probs.mul_(factor_N1[rows] - entropy_grad_N1[rows] * surprise)
        probs_NV.index_put_((rows_T, targets_T), grad_T.to(probs_NV.dtype), accumulate=True)
        return probs_NV, None, None, None, None


def _summed(values_T: Tensor, rows_T: Tensor, N: int) -> Tensor:
    """Of the values that belong to each of N positions, the sum."""
    return torch.zeros(N, dtype=values_T.dtype, device=values_T.device).index_add_(0, rows_T, values_T)


def _chunks(logits_NV: Tensor) -> list[slice]:
    N, V = logits_NV.shape
    step = max(1, _CHUNK.get(logits_NV.device.type, _CHUNK["other"]) // V)
    return [slice(start, start + step) for start in range(0, N, step)]
