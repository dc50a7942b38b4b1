"""How the losses of tokens become the loss of a batch: one weight per completion.

Written as weights, every aggregation is a plain sum.  So the loss of a mini-batch is the sum over its micro-batches and
over the ranks that share it, whatever their sizes, and gradient accumulation needs no further scaling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from morl.types import Aggregation, AggregationWeights


def token_weights(lengths_B: Tensor, aggregation: Aggregation | AggregationWeights, max_tokens: int) -> Tensor:
    """Weight of every token of completion b, float64, for the completions of one whole mini-batch (all ranks).

    Args:
        lengths_B: tokens of each completion that enters the loss; 0 leaves a completion out of `sequence-mean`.
        aggregation: `token-mean` = 1 / sum of lengths (DAPO, arXiv 2503.14476, eq. 12);
            `sequence-mean` = 1 / (number of completions * own length) (GRPO, arXiv 2402.03300, eq. 3);
            `sequence-sum` = 1 / number of completions (LUSPO, arXiv 2602.05261);
            `dr-grpo` = 1 / (number of completions * max_tokens) (Dr. GRPO, arXiv 2503.20783).
            TRL calls the first `dapo`, the second `grpo`, the last `dr_grpo`; its `bnpo`, which divides by the tokens
            of a micro-batch, is `token-mean` too, for here the size of micro-batches changes nothing.
            Or a function of `lengths_B` and `max_tokens`.
        max_tokens: the token limit of sampling.

    Raises:
        ValueError: a function whose answer is not one finite number for each completion.

    >>> token_weights(torch.tensor([1, 3]), "token-mean", 8).tolist()
    [0.25, 0.25]
    >>> token_weights(torch.tensor([1, 2]), "sequence-mean", 8).tolist()
    [0.5, 0.25]
    >>> token_weights(torch.tensor([1, 2]), "sequence-sum", 8).tolist()
    [0.5, 0.5]
    >>> token_weights(torch.tensor([1, 3]), "dr-grpo", 8).tolist()
    [0.0625, 0.0625]
    """
    lengths = lengths_B.to(torch.float64)
    match aggregation:
        case "token-mean" | "dapo" | "bnpo":
            return torch.ones_like(lengths) / lengths.sum().clamp(min=1)
        case "sequence-mean" | "grpo":
            return (lengths > 0) / (lengths.clamp(min=1) * (lengths > 0).sum().clamp(min=1))
        case "sequence-sum":
            return (lengths > 0) / (lengths > 0).sum().clamp(min=1).to(torch.float64)
        case "dr-grpo" | "dr_grpo":
            return torch.ones_like(lengths) / (max(len(lengths), 1) * max_tokens)
    return _checked(aggregation(lengths_B.clone(), max_tokens), lengths)


def _checked(answer: object, lengths: Tensor) -> Tensor:
    if not isinstance(answer, Tensor) or answer.shape != lengths.shape or not answer.isfinite().all():
        found = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(
            f"the aggregation returned {found}; expected a tensor {tuple(lengths.shape)} of finite numbers, the weight"
            " that each token of a completion bears"
        )
    return answer.to(torch.float64)
