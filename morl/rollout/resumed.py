"""Going on from contexts that were computed before: only what is new is read, on top of kept keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from attrs import define, field, frozen
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from morl.rollout.cache import FIRST_COLUMNS, GroupCache, LayerCache
from morl.rollout.packed import PackedDecoder
from morl.rollout.prefill import WASTE
from morl.rollout.remains import KeysValues, Known, Piece, Remains
from morl.rollout.scores import soft_capped

KEYS_PER_TOKEN = 4
"""Keys that one forward call looks at, at most, for each token that it may read: they are gathered for every row."""


@define(eq=False)
class ResumedDecoder(PackedDecoder):
    """A `morl.rollout.loop.Decoder` of contexts whose starts are known.

    Args:
        known: that of each row.
    """

    known: Sequence[Known] = field(kw_only=True)

    def prefill(self) -> Tensor:
        """See `Decoder`."""
        device = next(self.model.parameters()).device
        self._positions = torch.tensor([len(ids) for ids in self.prompts], device=device)
        self._cache, suffixes = _filled(self.known, self.prompts, self.max_tokens, device)
        order = sorted(range(len(suffixes)), key=suffixes.__getitem__)
        logits_NV = [self._read_on(rows, [suffixes[row] for row in rows]) for rows in self._calls(order, suffixes)]
        back = torch.tensor(order, device=device).argsort()
        return torch.cat(logits_NV)[back]

    def _calls(self, order: Sequence[int], suffixes: Sequence[int]) -> Iterator[list[int]]:
        """Rows that are read in one forward call."""
        keys = self._cache.longest + self._cache.steps
        most = max(1, KEYS_PER_TOKEN * self.prefill_tokens // keys)
        rows: list[int] = []
        tokens = 0
        for row in order:
            if rows and (tokens + suffixes[row] > self.prefill_tokens or len(rows) == most):
                yield rows
                rows, tokens = [], 0
            rows.append(row)
            tokens += suffixes[row]
        yield rows

    def _read_on(self, rows: Sequence[int], suffixes: Sequence[int]) -> Tensor:
        device = self._positions.device
        new = [self.prompts[row][-count:] for row, count in zip(rows, suffixes, strict=True)]
        positions = [
            torch.arange(len(self.prompts[row]) - count, len(self.prompts[row]), device=device)
            for row, count in zip(rows, suffixes, strict=True)
        ]
        output = self.model(
            input_ids=torch.tensor([[token for ids in new for token in ids]], device=device),
            position_ids=torch.cat(positions)[None],
            use_cache=False,
            plan=ResumePlan(self._cache, rows, suffixes),
            logits_to_keep=torch.tensor(suffixes, device=device).cumsum(0) - 1,
        )
        logits: Tensor = output.logits[0]
        return logits


@frozen(eq=False)
class Bucket:
    """Rows whose new tokens attend in one product.

    Attributes:
        tokens: theirs on the flat axis.
        rows_n: numbers in the cache.
        own_nS: True at new tokens, right-aligned; None where all rows have S of them.
        visible_nSK: keys of prompt and own part that each sees, those in reach of a sliding window or not.
        distance_nSK: how far behind the query each key stands.
    """

    tokens: slice
    rows_n: Tensor
    own_nS: Tensor | None
    visible_nSK: Tensor
    distance_nSK: Tensor


@define(eq=False)
class ResumePlan:
    """Attention plan of reading what is new in some rows, see `morl.policy.attention.AttentionPlan`.

    Args:
        cache: with the history of the rows, and room at its end for what is new.
        rows: of the cache.
        suffixes: new tokens of each, in rising order.
    """

    cache: GroupCache
    rows: Sequence[int]
    suffixes: Sequence[int]
    _rows_T: Tensor = field(init=False)
    _columns_T: Tensor = field(init=False)
    _buckets: list[Bucket] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        device, width = self.cache.prompt_of_N.device, self.cache.steps
        counts = torch.tensor(self.suffixes, device=device)
        self._rows_T = torch.tensor(self.rows, device=device).repeat_interleave(counts)
        before = (counts.cumsum(0) - counts).repeat_interleave(counts)
        within = torch.arange(len(self._rows_T), device=device) - before
        self._columns_T = within + width - counts.repeat_interleave(counts)
        first, begin = 0, 0
        while first < len(self.rows):
            last = first
            while last < len(self.rows) and self.suffixes[first] >= WASTE * self.suffixes[last]:
                last += 1
            end = begin + sum(self.suffixes[first:last])
            self._buckets.append(self._bucket(first, last, slice(begin, end)))
            first, begin = last, end

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
        """Attention of the new tokens over the prompt, the history, and those before them."""
        cache = self.cache.layers[layer]
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        cache.own_k[self._rows_T, :, self._columns_T] = k
        cache.own_v[self._rows_T, :, self._columns_T] = v
        outputs = []
        for bucket in self._buckets:
            visible = bucket.visible_nSK
            if sliding_window is not None:
                visible = visible & (bucket.distance_nSK < sliding_window)
            keys, values = (
                self._gathered(bucket.rows_n, *pair)
                for pair in ((cache.prompt_k, cache.own_k), (cache.prompt_v, cache.own_v))
            )
            queries = _right_aligned(q[bucket.tokens], bucket)
            output = _attention(queries, keys, values, visible[:, None], scaling, softcap).transpose(1, 2)
            outputs.append(output.flatten(0, 1) if bucket.own_nS is None else output[bucket.own_nS])
        return torch.cat(outputs)[None]

    def _gathered(self, rows_n: Tensor, prompt: Tensor, own: Tensor) -> Tensor:
        """(n, H_kv, K, D): all that these rows may see."""
        prompts_n = self.cache.prompt_of_N[rows_n]
        return torch.cat([prompt[prompts_n], own[rows_n, :, : self.cache.steps]], 2)

    def _bucket(self, first: int, last: int, tokens: slice) -> Bucket:
        cache, device = self.cache, self.cache.prompt_of_N.device
        rows_n = torch.tensor(self.rows[first:last], device=device)
        suffixes_n = torch.tensor(self.suffixes[first:last], device=device)
        S, L, W = self.suffixes[last - 1], cache.longest, cache.steps
        prompt_n = torch.tensor(cache.lengths, device=device)[cache.prompt_of_N[rows_n]]
        own_n = torch.tensor(cache.history, device=device)[rows_n]
        columns_L, columns_W = torch.arange(L, device=device), torch.arange(W, device=device)
        # Positions of keys and of queries, in tokens before (negative) and after the start of a row's own part.
        before_nL = (columns_L - L).expand(len(rows_n), L)
        own_nW = columns_W - (W - own_n)[:, None]
        keys_nK = torch.cat([before_nL, own_nW], 1)
        there_nK = torch.cat([before_nL >= -prompt_n[:, None], own_nW >= 0], 1)
        queries_nS = own_nW[:, W - S :]
        distance_nSK = queries_nS[:, :, None] - keys_nK[:, None]
        own_nS = None
        if self.suffixes[first] < S:
            own_nS = torch.arange(S, device=device) >= S - suffixes_n[:, None]
        return Bucket(tokens, rows_n, own_nS, there_nK[:, None] & (distance_nSK >= 0), distance_nSK)


def _right_aligned(x_NHD: Tensor, bucket: Bucket) -> Tensor:
    """(n, H, S, D)."""
    n = len(bucket.rows_n)
    if bucket.own_nS is None:
        return x_NHD.reshape(n, -1, *x_NHD.shape[1:]).transpose(1, 2)
    x_nSHD = x_NHD.new_zeros(*bucket.own_nS.shape, *x_NHD.shape[1:])
    x_nSHD[bucket.own_nS] = x_NHD
    return x_nSHD.transpose(1, 2)


def _attention(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, scaling: float, softcap: float | None) -> Tensor:
    """(n, H, S, D), from queries (n, H, S, D), keys and values (n, H_kv, K, D), and who sees whom (n, 1, S, K)."""
    H, H_kv = q.shape[1], k.shape[1]
    if not softcap:
        return scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=scaling, enable_gqa=H != H_kv)
    k, v = (x.repeat_interleave(H // H_kv, 1) for x in (k, v))
    scores = soft_capped(q * scaling @ k.transpose(2, 3), softcap).masked_fill(~visible, -torch.inf)
    return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v


@frozen(eq=False)
class Move:
    """Copies the last columns of some rows.

    Attributes:
        source: keys and values by layer.
        take, put: rows of the source, and of the target.
        columns: how many.
        end: column of the target behind the last one.
    """

    source: Mapping[int, KeysValues]
    take: Tensor
    put: Tensor
    columns: int
    end: int

    def make(self, layer: int, part: int, target: Tensor) -> None:
        """Of keys (part 0) or values (part 1) of a layer."""
        found = self.source[layer][part]
        begin = found.shape[2] - self.columns
        target[self.put, :, self.end - self.columns : self.end] = found[self.take, :, begin:]


def _filled(
    known: Sequence[Known], contexts: Sequence[tuple[int, ...]], max_tokens: int, device: torch.device
) -> tuple[GroupCache, list[int]]:
    """A cache with the histories of rows, and how many tokens of each are still to be read."""
    suffixes = [len(ids) - len(each.ids) for ids, each in zip(contexts, known, strict=True)]
    sources = [(each.remains, each.remains.prompt_of[each.row]) for each in known]
    distinct = {(id(remains), prompt): (remains, prompt) for remains, prompt in sources}
    number = {key: at for at, key in enumerate(distinct)}
    prompt_of_N = torch.tensor([number[id(remains), prompt] for remains, prompt in sources], device=device)
    lengths = [remains.lengths[prompt] for remains, prompt in distinct.values()]
    own = [each.remains.own_tokens(each.row) + new for each, new in zip(known, suffixes, strict=True)]
    cache = GroupCache(lengths, prompt_of_N, max_tokens, own, keeping=True)
    prompt_moves = _prompt_moves([*distinct.values()], cache.longest, device)
    own_moves = _own_moves(known, suffixes, cache.steps, device)
    for layer, pair in known[0].remains.prompts.items():
        made = []
        for part, like in enumerate(pair):
            _, H_kv, _, D = like.shape
            # Zeros, for what stands in columns that nobody sees has to be finite.
            prompt = like.new_zeros(len(lengths), H_kv, cache.longest, D)
            rows = like.new_zeros(len(known), H_kv, cache.steps + min(FIRST_COLUMNS, max_tokens), D)
            for move in prompt_moves:
                move.make(layer, part, prompt)
            for move in own_moves:
                move.make(layer, part, rows)
            made.append((prompt, rows))
        (prompt_k, own_k), (prompt_v, own_v) = made
        cache.layers[layer] = LayerCache(prompt_k, prompt_v, own_k, own_v)
    for remains in {id(each.remains): each.remains for each in known}.values():
        remains.drop([each.row for each in known if each.remains is remains])
    return cache, suffixes


def _prompt_moves(prompts: Sequence[tuple[Remains, int]], longest: int, device: torch.device) -> list[Move]:
    by_run: dict[int, list[tuple[int, int]]] = {}
    runs = {id(remains): remains for remains, _ in prompts}
    for at, (remains, prompt) in enumerate(prompts):
        by_run.setdefault(id(remains), []).append((prompt, at))
    moves = []
    for run, pairs in by_run.items():
        take, put = torch.tensor(pairs, device=device).T
        columns = min(longest, max(runs[run].lengths))
        moves.append(Move(runs[run].prompts, take, put, columns, longest))
    return moves


def _own_moves(known: Sequence[Known], suffixes: Sequence[int], width: int, device: torch.device) -> list[Move]:
    """Rows of one piece with as much to be read end at the same column."""
    alike: dict[tuple[int, int], list[tuple[int, int]]] = {}
    pieces: dict[int, Piece] = {}
    for at, (each, new) in enumerate(zip(known, suffixes, strict=True)):
        piece, place = each.remains.place(each.row)
        pieces[id(piece)] = piece
        alike.setdefault((id(piece), new), []).append((place, at))
    moves = []
    for (number, new), pairs in alike.items():
        take, put = torch.tensor(pairs, device=device).T
        piece = pieces[number]
        moves.append(Move(piece.layers, take, put, min(piece.columns, width - new), width - new))
    return moves
