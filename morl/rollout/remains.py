"""What is left of rows that have been sampled: keys and values that the next turn of a conversation goes on from."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TypeAlias

import torch
from attrs import define, field, frozen
from torch import Tensor

KeysValues: TypeAlias = tuple[Tensor, Tensor]


@frozen(eq=False)
class Piece:
    """Own parts of some rows, right-aligned.

    Attributes:
        layers: keys and values (r, H_kv, columns, D) by layer.
        columns: of them; a shorter row has anything before its own.
    """

    layers: Mapping[int, KeysValues]
    columns: int


@define(eq=False)
class Remains:
    """What one run of the sampling loop leaves behind.

    Args:
        lengths: tokens of its distinct prompts.
        prompt_of: which of them each row continues.
        surplus: own tokens of each row, beyond the columns that were filled since the start; 0 or less.

    Attributes:
        prompts: keys and values (U, H_kv, L, D) of the prompts by layer, right-aligned.
        pieces: own parts of rows.
        places: of each row that is kept, the number of its piece and its place in it.
    """

    lengths: Sequence[int]
    prompt_of: Sequence[int]
    surplus: Sequence[int]
    prompts: Mapping[int, KeysValues] = field(init=False, factory=dict)
    pieces: dict[int, Piece] = field(init=False, factory=dict)
    places: dict[int, tuple[int, int]] = field(init=False, factory=dict)

    def add(self, rows: Sequence[int], piece: Piece) -> None:
        """Own parts of rows that have left."""
        number = len(self.pieces)
        self.pieces[number] = piece
        self.places |= {row: (number, place) for place, row in enumerate(rows)}

    def take_prompts(self, prompts: Mapping[int, KeysValues]) -> None:
        """The prompts, while all of them are there."""
        if not self.prompts:
            self.prompts = prompts

    def place(self, row: int) -> tuple[Piece, int]:
        """The piece with the own part of a row, and its place there."""
        number, place = self.places[row]
        return self.pieces[number], place

    def own_tokens(self, row: int) -> int:
        """Own tokens whose keys and values are kept."""
        return self.place(row)[0].columns + self.surplus[row]

    def drop(self, rows: Sequence[int]) -> None:
        """Frees what only these rows needed."""
        for row in {*rows}:
            del self.places[row]
        for number, piece in [*self.pieces.items()]:
            left = [(row, place) for row, (at, place) in self.places.items() if at == number]
            if not left:
                del self.pieces[number]
            elif len(left) < len(next(iter(piece.layers.values()))[0]):
                self.pieces[number] = Piece(_selected(piece.layers, [place for _, place in left]), piece.columns)
                self.places |= {row: (number, place) for place, (row, _) in enumerate(left)}
        used = sorted({self.prompt_of[row] for row in self.places})
        if len(used) < len(self.lengths):
            self.prompts = _selected(self.prompts, used) if used else {}
            self.lengths = [self.lengths[prompt] for prompt in used]
            number_of = {prompt: number for number, prompt in enumerate(used)}
            self.prompt_of = [number_of.get(prompt, -1) for prompt in self.prompt_of]


@frozen(eq=False)
class Known:
    """The start of a context whose keys and values are kept.

    Attributes:
        ids: its tokens.
        remains: where they are.
        row: of it.
        number: of the run of the sampling loop.
    """

    ids: tuple[int, ...]
    remains: Remains
    row: int
    number: int


@define(eq=False)
class KnownContexts:
    """Contexts that have been computed with the present weights, for whoever goes on from them.

    Args:
        max_rows: how many at most, the latest; 0: any number.
    """

    max_rows: int
    _sorted: list[Known] = field(init=False, factory=list)

    def add(self, remains: Remains, ids: Sequence[tuple[int, ...]]) -> None:
        """What a run of the sampling loop left behind.

        Args:
            remains: see there.
            ids: of each row, all tokens whose keys and values it has.
        """
        while self._sorted and self.max_rows and len(self._sorted) + len(ids) > self.max_rows:
            self._forget(min(self._sorted, key=attrgetter("number")).number)
        number = max((known.number for known in self._sorted), default=-1) + 1
        for row, tokens in enumerate(ids):
            insort(self._sorted, Known(tokens, remains, row, number), key=attrgetter("ids"))

    def take(self, context: tuple[int, ...]) -> Known | None:
        """The longest known start of a context that leaves a token of it to be read; it is given once."""
        wanted = context[:-1]
        while place := bisect_right(self._sorted, wanted, key=attrgetter("ids")):
            # Everything that stands between a start of the context and the context begins with that start.
            ids = self._sorted[place - 1].ids
            if wanted[: len(ids)] == ids:
                return self._sorted.pop(place - 1)
            shared = (at for at, (one, other) in enumerate(zip(ids, wanted, strict=False)) if one != other)
            wanted = wanted[: next(shared, len(ids))]
        return None

    def _forget(self, number: int) -> None:
        gone = [known for known in self._sorted if known.number == number]
        self._sorted = [known for known in self._sorted if known.number != number]
        gone[0].remains.drop([known.row for known in gone])


def _selected(layers: Mapping[int, KeysValues], rows: Sequence[int]) -> dict[int, KeysValues]:
    device = next(iter(layers.values()))[0].device
    at = torch.tensor(rows, device=device)
    return {layer: (keys[at], values[at]) for layer, (keys, values) in layers.items()}
