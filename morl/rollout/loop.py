"""The sampling loop, over whatever turns tokens into the next logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from attrs import define, frozen
from torch import Tensor

from morl import interrupts, progress
from morl.rollout.constraint import AllowedTokens, Constraint
from morl.rollout.ends import StopStrings
from morl.rollout.sampling import SeenTokens, UniformStreams, draw
from morl.types import Sampling


class Decoder(Protocol):
    """A model with a cache, at work on N live rows that all began together."""

    def prefill(self) -> Tensor:
        """Reads the prompts; logits (N, V) of the first token of every row."""
        ...

    def step(self, tokens_N: Tensor) -> Tensor:
        """Appends one token to every live row; logits (N, V) of the next."""
        ...

    def keep(self, order: Tensor) -> None:
        """Goes on with fewer rows: row i of the future is row `order[i]` of today."""
        ...


@frozen(eq=False)
class Drawn:
    """What was sampled for B rows.

    Attributes:
        ids_BT: right-padded with 0.
        mask_BT: True at sampled tokens.
        logprobs_BT: 0 at padding.
        truncated_B: reached the token limit without ending.
    """

    ids_BT: Tensor
    mask_BT: Tensor
    logprobs_BT: Tensor
    truncated_B: Tensor


@define(eq=False)
class Drawing:
    """Draws a token of every live row, by what has been drawn there before.

    Attributes:
        sampling: see there.
        seen: tokens that a penalty applies to, where there is one.
        allowed: tokens that a constraint leaves, where there is one.
    """

    sampling: Sampling
    seen: SeenTokens | None = None
    allowed: AllowedTokens | None = None

    def draw(self, logits_NV: Tensor, uniforms_N: Tensor) -> tuple[Tensor, Tensor]:
        """See `morl.rollout.sampling.draw`."""
        allowed_NV = None if self.allowed is None else self.allowed.next(logits_NV.shape[1], logits_NV.device)
        return draw(logits_NV, uniforms_N, self.sampling, self.seen, allowed_NV)

    def keep(self, order: Tensor) -> None:
        """Goes on with these rows."""
        for each in (self.seen, self.allowed):
            if each is not None:
                each.keep(order)

    def add(self, tokens_N: Tensor) -> None:
        """One more token of every live row."""
        for each in (self.seen, self.allowed):
            if each is not None:
                each.add(tokens_N)


def sample(
    decoder: Decoder,
    keys: Sequence[tuple[int, int]],
    sampling: Sampling,
    end_ids: frozenset[int],
    stops: StopStrings | None = None,
    prompts: Sequence[Sequence[int]] = (),
    constraint: Constraint | None = None,
) -> Drawn:
    """Draws completions until each has ended or is `sampling.max_tokens` long.

    A row that has ended leaves the batch at once: the last live rows move into the holes, so a step costs what its live
    rows cost.

    Args:
        decoder: its rows are those of `keys`.
        keys: (seed, member) of each row, the name of its stream of uniforms.
        sampling: see there.
        end_ids: tokens that end a completion.
        stops: looks for stop strings.
        prompts: token ids of the prompt of each row, where `sampling.repetition_penalty` needs them.
        constraint: the language that completions are drawn within.
    """
    logits_NV = decoder.prefill()
    device = logits_NV.device
    streams = UniformStreams(keys, device)
    penalised = sampling.repetition_penalty != 1.0
    seen = SeenTokens(prompts, logits_NV.shape[1], device) if penalised else None
    drawing = Drawing(sampling, seen, None if constraint is None else constraint.begin(len(keys)))
    ends = torch.tensor(sorted(end_ids), device=device, dtype=torch.int64)
    texts: list[list[int]] = [[] for _ in keys]
    live = torch.arange(len(keys), device=device)
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    uniforms_N = logits_NV.new_empty(0)
    for step in range(sampling.max_tokens):
        interrupts.check()
        if step % 16 == 0:
            progress.note(f"{len(live)} completions at token {step} of at most {sampling.max_tokens}")
        if sampling.temperature > 0.0:
            uniforms_N = streams.at(step, live)
        tokens_N, logprobs_N = drawing.draw(logits_NV, uniforms_N)
        steps.append((live, tokens_N, logprobs_N))
        ended_N = torch.isin(tokens_N, ends)
        if stops is not None:
            ended_N |= _stopped(stops, texts, live, tokens_N)
        if step + 1 == sampling.max_tokens:
            live = live[~ended_N]
            break
        if ended_N.any():
            order = _close_ranks(ended_N)
            live, tokens_N = live[order], tokens_N[order]
            if not len(live):
                break
            decoder.keep(order)
            drawing.keep(order)
        drawing.add(tokens_N)
        logits_NV = decoder.step(tokens_N)
    return _assemble(steps, len(keys), live)


def _close_ranks(ended_N: Tensor) -> Tensor:
    """Which row each place of the shorter batch gets: live rows stay, the last ones fill the holes."""
    left = int((~ended_N).sum())
    order = torch.arange(left, device=ended_N.device)
    order[ended_N[:left]] = left + (~ended_N[left:]).nonzero()[:, 0]
    return order


def _stopped(stops: StopStrings, texts: list[list[int]], live: Tensor, tokens_N: Tensor) -> Tensor:
    ended = []
    for row, token in zip(live.tolist(), tokens_N.tolist(), strict=True):
        texts[row].append(token)
        ended.append(stops.ended(texts[row]))
    return torch.tensor(ended, device=live.device, dtype=torch.bool)


def _assemble(steps: Sequence[tuple[Tensor, Tensor, Tensor]], B: int, truncated: Tensor) -> Drawn:
    device = truncated.device
    rows = torch.cat([live for live, _, _ in steps])
    counts = torch.tensor([len(live) for live, _, _ in steps], device=device)
    columns = torch.arange(len(steps), device=device).repeat_interleave(counts)
    ids_BT = torch.zeros(B, len(steps), dtype=torch.int64, device=device)
    # Not the default dtype, which Lightning sets to that of a half-precision run.
    logprobs_BT = torch.zeros(B, len(steps), dtype=torch.float32, device=device)
    mask_BT = torch.zeros(B, len(steps), dtype=torch.bool, device=device)
    ids_BT[rows, columns] = torch.cat([tokens for _, tokens, _ in steps])
    logprobs_BT[rows, columns] = torch.cat([logprobs for _, _, logprobs in steps])
    mask_BT[rows, columns] = True
    truncated_B = torch.zeros(B, dtype=torch.bool, device=device)
    truncated_B[truncated] = True
    return Drawn(ids_BT, mask_BT, logprobs_BT, truncated_B)
