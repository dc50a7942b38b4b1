"""Keys and values while decoding groups: each prompt once, each live row its own part.

All live rows began together, so at any step they are equally long and what they generated needs no mask.  Prompts are
right-aligned, so that every row's query stands at the same column and a sliding window is a range of columns.  In later
turns of a conversation a row's own part begins with what was said before, the history, right-aligned as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, field, frozen
from torch import Tensor

from morl.rollout.remains import Piece, Remains
from morl.rollout.scores import soft_capped

FIRST_COLUMNS = 16
"""Generated tokens that room is made for at first; it doubles whenever it is full.  Rows that stand closer together are
read faster, and the copies into wider rooms cost less than that."""


@define(eq=False)
class LayerCache:
    """One layer's keys and values.

    Attributes:
        prompt_k, prompt_v: (U, H_kv, L, D) of the distinct prompts.
        own_k, own_v: (R, H_kv, C, D) of the rows: room for at least the N live ones, C columns; the history, where
            there is one, in the first of them.
    """

    prompt_k: Tensor
    prompt_v: Tensor
    own_k: Tensor
    own_v: Tensor


@define(eq=False)
class GroupCache:
    """The cache, and the attention plan of decoding steps (see `morl.policy.attention.AttentionPlan`).

    Args:
        lengths: tokens of each of U distinct prompts.
        prompt_of_N: which of them each row continues.
        max_tokens: longest completion.
        history: own tokens that each row has from the start; empty where there are none.
        keeping: whether `remains` can be asked for.

    Attributes:
        steps: columns of the own parts that are filled.
    """

    lengths: Sequence[int]
    prompt_of_N: Tensor
    max_tokens: int
    history: Sequence[int] = ()
    keeping: bool = False
    layers: dict[int, LayerCache] = field(init=False, factory=dict)
    steps: int = field(init=False)
    longest: int = field(init=False)
    _before: HistoryPads | None = field(init=False)
    _remains: Remains | None = field(init=False, default=None)
    _rows_N: Tensor = field(init=False)
    _pad_bias_U1L: Tensor | None = field(init=False, default=None)
    _slot_of_row: Tensor | None = field(init=False, default=None)
    _row_of_slot: Tensor | None = field(init=False, default=None)
    _width: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self.longest = max(self.lengths)
        self.steps = max(self.history, default=0)
        self._before = HistoryPads.of(self.history, self.prompt_of_N.device)
        self._rows_N = torch.arange(len(self.prompt_of_N), device=self.prompt_of_N.device)
        if self.keeping:
            before = self.history or [0] * len(self.prompt_of_N)
            self._remains = Remains(self.lengths, self.prompt_of_N.tolist(), [each - self.steps for each in before])
        device = self.prompt_of_N.device
        if min(self.lengths) < self.longest:
            pads = self.longest - torch.tensor(self.lengths, device=device)
            hidden_UL = torch.arange(self.longest, device=device) < pads[:, None]
            self._pad_bias_U1L = torch.zeros(hidden_UL.shape, device=device).masked_fill_(hidden_UL, -torch.inf)[
                :, None
            ]
        self._assign_slots()

    # Prefill ---------------------------------------------------------------------------------------------------------

    def store(self, first: int, last: int) -> PromptStore:
        """Where a prefill call puts the keys and values of the prompts `first` to `last`."""
        lengths = torch.tensor(self.lengths[first:last], device=self.prompt_of_N.device)
        prompts = torch.arange(first, last, device=lengths.device).repeat_interleave(lengths)
        before = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        within = torch.arange(len(prompts), device=lengths.device) - before
        columns = within + self.longest - lengths.repeat_interleave(lengths)
        return PromptStore(self, prompts, columns)

    def new_layer(self, key_NHD: Tensor, value_NHD: Tensor) -> LayerCache:
        """Room for one layer, in the shapes and dtype in which the model computes."""
        columns = min(FIRST_COLUMNS, self.max_tokens)

        def room(x_NHD: Tensor) -> tuple[Tensor, Tensor]:
            H_kv, D = x_NHD.shape[1:]
            prompt = x_NHD.new_zeros(len(self.lengths), H_kv, self.longest, D)
            return prompt, x_NHD.new_empty(len(self.prompt_of_N), H_kv, columns, D)

        (prompt_k, own_k), (prompt_v, own_v) = room(key_NHD), room(value_NHD)
        return LayerCache(prompt_k, prompt_v, own_k, own_v)

    # Decoding --------------------------------------------------------------------------------------------------------

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
        dropout: float,
    ) -> Tensor:
        """Attention of one new token per row over its prompt, its generated tokens and itself."""
        cache = self.layers[layer]
        _, H_kv, N, D = key.shape
        self._append(cache, key[0], value[0])
        q = (query[0].transpose(0, 1) * scaling).reshape(N * H_kv, -1, D)
        end = self.steps + 1
        begin, hidden = 0, 0
        if sliding_window is not None:
            begin = max(0, end - sliding_window)
            hidden = min(self.longest, max(0, self.longest + end - sliding_window))
        own_k = cache.own_k.flatten(0, 1)[: N * H_kv, begin:end]
        own_v = cache.own_v.flatten(0, 1)[: N * H_kv, begin:end]
        own_scores = soft_capped(torch.bmm(q, own_k.transpose(1, 2)), softcap)
        if self._before is not None:
            self._before.hide_own(own_scores.view(N, -1, end - begin), begin)
            if sliding_window is not None:  # rows with less padding see less of their prompt
                hidden = min(self.longest, max(0, self.longest + end - sliding_window - self._before.most))
        if hidden == self.longest:
            probs = own_scores.softmax(-1, dtype=torch.float32).to(own_v.dtype)
            return torch.bmm(probs, own_v).view(1, N, -1, own_v.shape[2])
        L = self.longest - hidden
        prompt_scores = self._prompt_scores(q, cache.prompt_k[:, :, hidden:], softcap, hidden)
        if self._before is not None and sliding_window is not None:
            rows = self._from_slots(prompt_scores, H_kv)
            self._before.hide_prompt(rows.view(N, -1, L), L + end - sliding_window)
            prompt_scores = self._to_slots(rows, H_kv)
        prompt_probs, own_probs = self._softmax(prompt_scores, own_scores, H_kv, own_v.dtype)
        output = torch.bmm(own_probs, own_v)
        output += self._from_slots(torch.bmm(prompt_probs, cache.prompt_v[:, :, hidden:].flatten(0, 1)), H_kv)
        return output.view(1, N, -1, own_v.shape[2])

    def keep(self, order: Tensor) -> None:
        """Row i is from now on what row `order[i]` was."""
        if self._remains is not None:
            self._put_aside(order)
        holes = (order != torch.arange(len(order), device=order.device)).nonzero()[:, 0]
        movers = order[holes]
        if len(holes):
            for cache in self.layers.values():
                for own in (cache.own_k, cache.own_v):
                    own[holes, :, : self.steps] = own[movers, :, : self.steps]
        self.prompt_of_N, self._rows_N = self.prompt_of_N[order], self._rows_N[order]
        if self._before is not None:
            self._before = self._before.kept(order)
        self._drop_prompts()
        self._assign_slots()

    def remains(self) -> Remains:
        """Keys and values of all rows, those that have left included; the cache is of no use afterwards."""
        assert self._remains is not None, "the cache was not told to keep anything"
        N = len(self.prompt_of_N)
        own = {
            layer: (cache.own_k[:N, :, : self.steps], cache.own_v[:N, :, : self.steps])
            for layer, cache in self.layers.items()
        }
        self._remains.add(self._rows_N.tolist(), Piece(own, self.steps))
        self._remains.take_prompts({layer: (cache.prompt_k, cache.prompt_v) for layer, cache in self.layers.items()})
        return self._remains

    def _put_aside(self, order: Tensor) -> None:
        """Copies the own parts of rows that leave."""
        assert self._remains is not None
        leaving = torch.ones(len(self._rows_N), dtype=torch.bool, device=order.device)
        leaving[order] = False
        at = leaving.nonzero()[:, 0]
        own = {
            layer: (cache.own_k[at, :, : self.steps], cache.own_v[at, :, : self.steps])
            for layer, cache in self.layers.items()
        }
        self._remains.add(self._rows_N[at].tolist(), Piece(own, self.steps))

    def _append(self, cache: LayerCache, key: Tensor, value: Tensor) -> None:
        N = key.shape[1]
        if self.steps == cache.own_k.shape[2]:
            columns = min(2 * self.steps, max(self.history, default=0) + self.max_tokens)
            cache.own_k, cache.own_v = _wider(cache.own_k[:N], columns), _wider(cache.own_v[:N], columns)
        cache.own_k[:N, :, self.steps] = key.transpose(0, 1)
        cache.own_v[:N, :, self.steps] = value.transpose(0, 1)

    # The n rows of a prompt meet its keys in one product: (U, width) slots, filled by rows in any order ---------------

    def _assign_slots(self) -> None:
        """Gives every live row a slot among those of its prompt."""
        N, U = len(self.prompt_of_N), len(self.lengths)
        prompts, rows = self.prompt_of_N.sort(stable=True)
        counts = torch.bincount(prompts, minlength=U)
        self._width = int(counts.max())
        rank = torch.arange(N, device=rows.device) - (counts.cumsum(0) - counts)[prompts]
        slots = prompts * self._width + rank
        if N == U * self._width and bool((rows[1:] > rows[:-1]).all()):
            self._slot_of_row = self._row_of_slot = None  # rows stand in slot order already
            return
        self._slot_of_row = torch.empty_like(rows)
        self._slot_of_row[rows] = slots
        # An empty slot repeats row 0, and nobody reads its result.
        self._row_of_slot = rows.new_zeros(U * self._width)
        self._row_of_slot[slots] = rows

    def _drop_prompts(self) -> None:
        """Forgets prompts without live rows once they are many; few cost less than the copy."""
        used = torch.unique(self.prompt_of_N)
        if len(used) > 0.75 * len(self.lengths):
            return
        if self._remains is not None:
            self._remains.take_prompts({layer: (each.prompt_k, each.prompt_v) for layer, each in self.layers.items()})
        self.prompt_of_N = torch.searchsorted(used, self.prompt_of_N)
        self.lengths = [self.lengths[prompt] for prompt in used.tolist()]
        for cache in self.layers.values():
            cache.prompt_k, cache.prompt_v = cache.prompt_k[used], cache.prompt_v[used]
        if self._pad_bias_U1L is not None:
            self._pad_bias_U1L = self._pad_bias_U1L[used]

    def _to_slots(self, x: Tensor, H_kv: int) -> Tensor:
        """(N, H_kv, rep, X), in any grouping of the leading axes -> (U * H_kv, width * rep, X)."""
        U, X = len(self.lengths), x.shape[-1]
        x = x.reshape(len(self.prompt_of_N), -1, X)
        if self._row_of_slot is not None:
            x = x.index_select(0, self._row_of_slot)
        x = x.view(U, self._width, H_kv, -1, X).transpose(1, 2)
        return x.reshape(U * H_kv, -1, X)

    def _from_slots(self, x: Tensor, H_kv: int) -> Tensor:
        """(U * H_kv, width * rep, X) -> (N * H_kv, rep, X)."""
        U, X = len(self.lengths), x.shape[-1]
        x = x.view(U, H_kv, self._width, -1, X).transpose(1, 2).reshape(U * self._width, H_kv, -1, X)
        if self._slot_of_row is not None:
            x = x.index_select(0, self._slot_of_row)
        return x.flatten(0, 1)

    def _prompt_scores(self, q: Tensor, prompt_k: Tensor, softcap: float | None, hidden: int) -> Tensor:
        """(U * H_kv, width * rep, L), in slots."""
        U, H_kv, L, _ = prompt_k.shape
        scores = torch.bmm(self._to_slots(q, H_kv), prompt_k.flatten(0, 1).transpose(1, 2))
        scores = soft_capped(scores, softcap)
        if self._pad_bias_U1L is not None:
            scores.view(U, -1, L).add_(self._pad_bias_U1L[:, :, hidden:])
        return scores

    def _softmax(
        self, prompt_scores: Tensor, own_scores: Tensor, H_kv: int, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """One softmax over both; what is of the prompts stands in slots, what is of own tokens in rows.

        They meet where the wider ones stand, for every move is a copy.
        """
        L = prompt_scores.shape[2]
        if L > own_scores.shape[2]:
            scores = torch.cat([prompt_scores, self._to_slots(own_scores, H_kv)], -1)
            probs = scores.softmax(-1, dtype=torch.float32).to(dtype)
            return probs[:, :, :L], self._from_slots(probs[:, :, L:], H_kv)
        scores = torch.cat([self._from_slots(prompt_scores, H_kv), own_scores], -1)
        probs = scores.softmax(-1, dtype=torch.float32).to(dtype)
        return self._to_slots(probs[:, :, :L], H_kv), probs[:, :, L:]


@frozen(eq=False)
class HistoryPads:
    """Columns before the histories of rows that are shorter than the longest, which nobody must see.

    Attributes:
        most: of any row.
        pads_N: of each.
        bias_N1W: -inf there, 0 at what was said.
    """

    most: int
    pads_N: Tensor
    bias_N1W: Tensor

    @classmethod
    def of(cls, history: Sequence[int], device: torch.device) -> HistoryPads | None:
        """Those of histories of these lengths; None where all are equally long."""
        width = max(history, default=0)
        if min(history, default=0) == width:
            return None
        pads_N = width - torch.tensor(history, device=device)
        hidden_NW = torch.arange(width, device=device) < pads_N[:, None]
        bias_NW = torch.zeros(hidden_NW.shape, device=device).masked_fill_(hidden_NW, -torch.inf)
        return cls(int(pads_N.max()), pads_N, bias_NW[:, None])

    def kept(self, order: Tensor) -> HistoryPads:
        """Row i is what row `order[i]` was."""
        pads_N = self.pads_N[order]
        return HistoryPads(int(pads_N.max()), pads_N, self.bias_N1W[order])

    def hide_own(self, scores_NHC: Tensor, begin: int) -> None:
        """Of scores of the own columns from `begin` on."""
        width = self.bias_N1W.shape[2] - begin
        if width > 0:
            scores_NHC[:, :, :width] += self.bias_N1W[:, :, begin:]

    def hide_prompt(self, scores_NHL: Tensor, beyond: int) -> None:
        """Of scores of the last L columns of the prompts, those that a sliding window has left.

        Args:
            scores_NHL: see there.
            beyond: how many a row without padding does not see.
        """
        columns = torch.arange(scores_NHL.shape[2], device=scores_NHL.device)
        hidden_NL = columns < (beyond - self.pads_N)[:, None]
        scores_NHL.masked_fill_(hidden_NL[:, None], -torch.inf)


@define(eq=False)
class PromptStore:
    """Puts the keys and values of one prefill call into a `GroupCache`."""

    cache: GroupCache
    prompts: Tensor
    columns: Tensor

    def __call__(self, layer: int, key_NHD: Tensor, value_NHD: Tensor) -> None:
        layers = self.cache.layers
        if layer not in layers:
            layers[layer] = self.cache.new_layer(key_NHD, value_NHD)
        layers[layer].prompt_k[self.prompts, :, self.columns] = key_NHD
        layers[layer].prompt_v[self.prompts, :, self.columns] = value_NHD


def _wider(own: Tensor, columns: int) -> Tensor:
    wide = own.new_empty(*own.shape[:2], columns, own.shape[3])
    wide[:, :, : own.shape[2]] = own
    return wide
