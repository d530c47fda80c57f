"""What a target holds, read back in the target's own words, to compare it with the view.

    target row            words, as SQLite spells them      view row, spelt the same way
    ───────────────────   ──────────────────────────────    ─────────────────────────────
    (1, 'a', 12.50)       '1'  "'a'"  "'12.50'"             '1'  "'a'"  "'12.50'"      equal
    (2, 'b', 'oops')      '2'  "'b'"  "'oops'"              '2'  "'b'"  "'7.00'"       differs

A target may hold what the view's types cannot (somebody wrote 'oops' where a DECIMAL belongs, or
half a line into a file), so rows are not parsed: the view's are spelt as the target would hold
them, and words are compared.

Not here: the comparison (`penstock.pipeline.audit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from penstock.data.batch import Batch
from penstock.data.types import Schema


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that a reader of a target sees at one instant.

    `schema`  the columns of `rows`, as a rule nullable VARCHARs
    `key`     the columns that tell rows apart, () if rows may repeat
    `rows`    pieces of bounded size in any order, not consolidated; a weight is the number of
              copies, negative for the deletions of a log. Raises SinkUnavailable or SinkRejected
    `spell`   rows of the view (weights positive) in the same words; pure, any order
    """

    schema: Schema
    key: tuple[int, ...]
    rows: Iterator[Batch]
    spell: Callable[[Batch], Batch]
