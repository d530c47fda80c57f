"""Which of a step's rows make it fail: so that one bad row never takes good rows with it.

    the step's rows ─┬─ first half ──► a trial: a circuit of the same state makes the step
                     └─ second half      it can: the half is good     it cannot: halve it again

Rows are judged in the order of their arrival, each together with the good ones before it: where
only two together fail, the later one is bad. A trial costs reading the state back and one step,
which is why it is made at the next start only, where the step that failed comes up again; k bad
rows of n take about 2·k·log2(n) trials. After `TRIALS` of them, what is not judged counts as bad.

Rows are known by their number among all that the step took in.

Not here: that a step has failed, and what is told about it (`loop`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch, InputBatch
from penstock.data.build import batch_to_rows
from penstock.data.gather import take_column
from penstock.errors import RuntimeSqlError

#: makes the step with these rows by table, on the state before it; raises RuntimeSqlError
Trial = Callable[[Mapping[str, Sequence[InputBatch]]], None]
#: (table, rows)
Part = tuple[str, InputBatch]
Mask = npt.NDArray[np.bool_]

TRIALS = 200
#: bad rows that a message spells out
SPELT = 3


def bad_rows(parts: Sequence[Part], trial: Trial, trials: int = TRIALS) -> list[int]:
    """The numbers of the rows that the step cannot be made with."""
    total = sum(len(b) for _, b in parts)
    keep: Mask = np.zeros(total, np.bool_)
    todo = [(0, total)]
    bad: list[int] = []
    while todo:
        start, end = todo.pop()
        if start == end:
            continue
        if trials == 0:
            bad.extend(range(start, end))
            continue
        trials -= 1
        keep[start:end] = True
        if _can(kept(parts, keep), trial):
            continue
        keep[start:end] = False
        if end - start == 1:
            bad.append(start)
        else:
            middle = (start + end) // 2
            todo += [(middle, end), (start, middle)]
    return sorted(bad)


def without(parts: Sequence[Part], bad: Sequence[int]) -> list[InputBatch]:
    """The rows of each part that are not among `bad`; one batch a part, in their order."""
    keep: Mask = np.ones(sum(len(b) for _, b in parts), np.bool_)
    keep[list(bad)] = False
    return [b for _, b in _chosen(parts, keep)]


def kept(parts: Sequence[Part], keep: Mask) -> Mapping[str, list[InputBatch]]:
    """The rows that `keep` marks, by table."""
    found: dict[str, list[InputBatch]] = {}
    for table, rows in _chosen(parts, keep):
        if len(rows):
            found.setdefault(table, []).append(rows)
    return found


def spelt(parts: Sequence[Part], bad: Sequence[int]) -> str:
    """The first of the bad rows, for a message."""
    mask: Mask = np.zeros(sum(len(b) for _, b in parts), np.bool_)
    mask[list(bad)] = True
    texts = []
    for table, rows in _chosen(parts, mask):
        whole = Batch(rows.schema, rows.columns, np.ones(len(rows), np.int64))
        for values, _ in batch_to_rows(whole):
            texts.append(f"{table}({', '.join(map(_word, values))})")
            if len(texts) == SPELT:
                return ", ".join(texts) + (", …" if len(bad) > SPELT else "")
    return ", ".join(texts)


def _word(value: object) -> str:
    return "NULL" if value is None else str(value)


def _chosen(parts: Sequence[Part], keep: Mask) -> list[Part]:
    found, at = [], 0
    for table, rows in parts:
        mask = keep[at : at + len(rows)]
        at += len(rows)
        found.append((table, rows if mask.all() else _filtered(rows, mask)))
    return found


def _filtered(rows: InputBatch, mask: Mask) -> InputBatch:
    indices = np.flatnonzero(mask)
    return replace(
        rows,
        columns=tuple(take_column(c, indices) for c in rows.columns),
        ops=rows.ops[indices],
        present=tuple(None if p is None else p[indices] for p in rows.present),
    )


def _can(inputs: Mapping[str, Sequence[InputBatch]], trial: Trial) -> bool:
    try:
        trial(inputs)
    except RuntimeSqlError:
        return False
    return True
