"""The best assignment of predicted to gold calls, in integers."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest


def best_total(weights_GP: Sequence[Sequence[int]]) -> int:
    """Largest sum of weights, all >= 0, that takes each row and each column at most once.

    The Hungarian method (Kuhn 1955, in the form with potentials and shortest augmenting paths).  Weights are Python's
    integers, so the result is exact; `scipy.optimize.linear_sum_assignment` computes in float64, where matchings that
    are equally good can differ by a rounding error.  Takes O(G^2 P log P) steps: a row needs no column but its G best.

    >>> best_total([[5, 4], [4, 0]])
    8
    """
    G = len(weights_GP)
    columns = sorted({p for row in weights_GP for p in nlargest(G, range(len(row)), key=row.__getitem__)})
    # G columns that weigh nothing, so that a row may stay alone.
    costs_GP = [[-row[p] for p in columns] + [0] * G for row in weights_GP]
    return _best(costs_GP) if columns else 0


def _best(costs_GP: Sequence[Sequence[int]]) -> int:
    """Minus the smallest cost of giving every row a column of its own; at least as many columns as rows."""
    G, P = len(costs_GP), len(costs_GP[0])
    # Index 0 of both is a stand-in: column 0 holds the row that is being placed.
    row_potentials, column_potentials = [0] * (G + 1), [0] * (P + 1)
    row_of, previous = [0] * (P + 1), [0] * (P + 1)
    for row in range(1, G + 1):
        row_of[0], column = row, 0
        slack: list[int | None] = [None] * (P + 1)
        visited = [False] * (P + 1)
        while row_of[column]:
            visited[column] = True
            current, step, nearest = row_of[column], None, 0
            for p in range(1, P + 1):
                if visited[p]:
                    continue
                reduced = costs_GP[current - 1][p - 1] - row_potentials[current] - column_potentials[p]
                known = slack[p]
                if known is None or reduced < known:
                    slack[p], previous[p] = reduced, column
                    known = reduced
                if step is None or known < step:
                    step, nearest = known, p
            assert step is not None, "there are more columns than rows"
            for p in range(P + 1):
                if visited[p]:
                    row_potentials[row_of[p]] += step
                    column_potentials[p] -= step
                elif (known := slack[p]) is not None:
                    slack[p] = known - step
            column = nearest
        while column:
            row_of[column] = row_of[previous[column]]
            column = previous[column]
    return column_potentials[0]
