"""Drawing tokens, without a random state: every completion has a stream of uniforms of its own.

The stream is a function of (seed of the prompt, number of the completion in its group), so a sample does not depend on
what else is in the batch, on the number of ranks, or on when its row left the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from attrs import define, field
from torch import Tensor

from morl.types import Sampling

BLOCK = 64
"""Uniforms are drawn for so many tokens at a time."""

PER_COUNT = 8
"""float32 numbers that one value of Philox 4x64's counter makes."""

HEAD = 256
"""Candidates that top-p looks at before it sorts a whole vocabulary."""


@define(eq=False)
class UniformStreams:
    """One counter-based stream (Philox 4x64) in [0, 1) per completion.

    Args:
        keys: (seed, member) of each completion.
        device: where the uniforms are needed.

    >>> a, b = UniformStreams([(7, 0), (7, 1)], torch.device("cpu")).at(0, torch.arange(2)).tolist()
    >>> a != b, UniformStreams([(7, 1)], torch.device("cpu")).at(0, torch.arange(1)).tolist() == [b]
    (True, True)
    """

    keys: Sequence[tuple[int, int]]
    device: torch.device
    _bits: np.random.Philox = field(init=False, factory=lambda: np.random.Philox(key=0))
    _block: Tensor = field(init=False)

    def at(self, step: int, live: Tensor) -> Tensor:
        """The uniforms (N,) of the completions `live` at `step`; steps are asked for in order, from 0."""
        if step % BLOCK == 0:
            self._block = self._draw_block(step, live.tolist()).to(self.device)
        return self._block[live, step % BLOCK]

    def _draw_block(self, step: int, rows: Sequence[int]) -> Tensor:
        block = np.zeros((len(self.keys), BLOCK), dtype=np.float32)
        generator = np.random.Generator(self._bits)
        for row in rows:
            # One generator set to each key in turn: making one for each would also read entropy that nobody wants.
            self._bits.state = {
                "bit_generator": "Philox",
                "state": {
                    "counter": np.array([step // PER_COUNT, 0, 0, 0], dtype=np.uint64),
                    "key": np.array(self.keys[row], dtype=np.uint64),
                },
                "buffer": np.zeros(4, dtype=np.uint64),
                "buffer_pos": 4,
                "has_uint32": 0,
                "uinteger": 0,
            }
            generator.random(out=block[row], dtype=np.float32)
        return torch.from_numpy(block)


@define(eq=False)
class SeenTokens:
    """Which tokens of the vocabulary stand in the prompt or the completion of each live row, for a penalty on them.

    Args:
        prompts: token ids of the prompt of each row.
        vocabulary: number of tokens.
        device: of the logits.
    """

    prompts: Sequence[Sequence[int]]
    vocabulary: int
    device: torch.device
    _seen_NV: Tensor = field(init=False)

    def __attrs_post_init__(self) -> None:
        rows = [row for row, prompt in enumerate(self.prompts) for _ in prompt]
        ids = [token for prompt in self.prompts for token in prompt]
        self._seen_NV = torch.zeros(len(self.prompts), self.vocabulary, dtype=torch.bool, device=self.device)
        self._seen_NV[torch.tensor(rows, device=self.device), torch.tensor(ids, device=self.device)] = True

    def penalised(self, logits_NV: Tensor, penalty: float) -> Tensor:
        """The logits with those of seen tokens made smaller, as in `transformers` and vLLM (CTRL, arXiv 1909.05858)."""
        logits_NV = logits_NV.float()
        smaller_NV = torch.where(logits_NV > 0, logits_NV / penalty, logits_NV * penalty)
        return torch.where(self._seen_NV, smaller_NV, logits_NV)

    def add(self, tokens_N: Tensor) -> None:
        """One more token of every live row."""
        self._seen_NV.scatter_(1, tokens_N[:, None], True)

    def keep(self, order: Tensor) -> None:
        """Goes on with these rows."""
        self._seen_NV = self._seen_NV[order]


def draw(
    logits_NV: Tensor,
    uniforms_N: Tensor,
    sampling: Sampling,
    seen: SeenTokens | None = None,
    allowed_NV: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One token per row, by inversion of the cumulated probabilities.

    A token of probability 0 is never drawn, whatever the uniform.

    Args:
        logits_NV: as the model gave them.
        uniforms_N: in [0, 1); not looked at where the temperature is 0.
        sampling: temperature, top-k, then top-p and then min-p among those left, as in `transformers`.
        seen: where `sampling.repetition_penalty` is not 1, the tokens that it applies to.
        allowed_NV: True at the tokens that a constraint leaves; None leaves all.

    Returns:
        The tokens (N,) and their log-probabilities (N,), float32, under softmax(logits / temperature) over the whole
        vocabulary; at temperature 0 the likeliest tokens, and their log-probabilities at temperature 1.

    >>> draw(torch.tensor([[0.0, 1.0]]).log(), torch.tensor([0.0]), Sampling())[0]
    tensor([1])
    """
    logits_NV = logits_NV.float()
    penalised_NV = logits_NV if seen is None else seen.penalised(logits_NV, sampling.repetition_penalty)
    if allowed_NV is not None:
        penalised_NV = penalised_NV.masked_fill(~allowed_NV, -torch.inf)
    free = seen is None and allowed_NV is None
    if sampling.temperature == 0.0:
        probs_NV = logits_NV.softmax(-1)
        tokens_N1 = penalised_NV.argmax(-1, keepdim=True)
    else:
        probs_NV = _probabilities(logits_NV, sampling.temperature)
        drawn_NV = probs_NV if free else _probabilities(penalised_NV, sampling.temperature)
        if sampling.top_k == 0 and sampling.top_p == 1.0:
            tokens_N1 = _invert(_at_least(drawn_NV, sampling.min_p), uniforms_N)
        else:
            tokens_N1 = _draw_cut(drawn_NV, uniforms_N, sampling, sampling.top_k or HEAD)
    if allowed_NV is not None:  # such a token may be so unlikely that its probability is 0 in float32
        return tokens_N1[:, 0], (logits_NV / (sampling.temperature or 1.0)).log_softmax(-1).gather(1, tokens_N1)[:, 0]
    return tokens_N1[:, 0], probs_NV.gather(1, tokens_N1)[:, 0].log()


def _probabilities(logits_NV: Tensor, temperature: float) -> Tensor:
    return (logits_NV if temperature == 1.0 else logits_NV / temperature).softmax(-1)


def _at_least(probs_NM: Tensor, min_p: float) -> Tensor:
    """Without the tokens that are less likely than this share of the likeliest."""
    return probs_NM if min_p == 0.0 else probs_NM.where(probs_NM >= min_p * probs_NM.amax(-1, keepdim=True), 0.0)


def _invert(weights_NM: Tensor, uniforms_N: Tensor) -> Tensor:
    """First index (N, 1) whose cumulated weight exceeds uniform * total."""
    cumulated_NM = weights_NM.cumsum(-1)
    total_N1 = cumulated_NM[:, -1:]
    # Rounding may carry uniform * total up to the total itself, beyond which there is no index.
    target_N1 = (uniforms_N[:, None] * total_N1).minimum(total_N1.nextafter(torch.zeros_like(total_N1)))
    return torch.searchsorted(cumulated_NM, target_N1, right=True)


def _draw_cut(probs_NV: Tensor, uniforms_N: Tensor, sampling: Sampling, head: int) -> Tensor:
    """Tokens (N, 1) drawn among the `head` likeliest, after top-k, top-p and min-p."""
    top_k, top_p = sampling.top_k, sampling.top_p
    probs_NM, ids_NM = probs_NV.topk(min(head, probs_NV.shape[1]), dim=-1)
    reached_N1 = probs_NM.sum(-1, keepdim=True)
    total = reached_N1 if top_k else torch.ones_like(reached_N1)
    if top_p < 1.0:
        before_NM = probs_NM.cumsum(-1) - probs_NM
        # The first is always kept: before it there is 0.
        kept_NM = probs_NM.where(before_NM < top_p * total, 0.0)
    else:
        kept_NM = probs_NM
    tokens_N1 = ids_NM.gather(1, _invert(_at_least(kept_NM, sampling.min_p), uniforms_N))
    if not top_k and head < probs_NV.shape[1]:
        # A row whose nucleus reaches beyond the head is drawn again from its whole vocabulary; row by row, so that it
        # does not matter for one row how flat another is.
        flat = (reached_N1[:, 0] < top_p).nonzero()[:, 0]
        if len(flat):
            tokens_N1[flat] = _draw_cut(probs_NV[flat], uniforms_N[flat], sampling, probs_NV.shape[1])
    return tokens_N1
