"""What must hold after the reset, checked by independent readers.

sink = view      sqlite3 / the file replayed / psycopg against the REST query
view = DuckDB    the program's SQL re-run from scratch over all input so far
reader           no look found the table empty, mixed, or back in an older generation
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Check:
    """One claim and whether it held; `detail` says with what figures."""

    claim: str
    held: bool
    detail: str


def same(claim: str, a: Counter[tuple[str, ...]], b: Counter[tuple[str, ...]]) -> Check:
    """Equal as multisets."""
    missing, extra = b - a, a - b
    if not missing and not extra:
        return Check(claim, True, f"{sum(a.values()):,} rows")
    sample = next(iter(missing or extra))
    return Check(
        claim,
        False,
        f"{sum(missing.values()):,} missing, {sum(extra.values()):,} extra; for example {sample}",
    )


def reader_checks(log: Path, vandal_generation: int) -> list[Check]:
    """Judge every look of the reader. Rows made by the vandal may show only until the reset's
    generation; from then on, and before the vandal came, a look is exactly what the marker of
    that instant says."""
    looks = [json.loads(line) for line in log.read_text().splitlines()]
    began = next((i for i, x in enumerate(looks) if x["rows"]), len(looks))
    seen = looks[began:]
    empty = sum(x["rows"] == 0 for x in seen)
    after = [x for x in seen if x["generation"] > vandal_generation]
    damaged_at = next((i for i, x in enumerate(seen) if x["vandalised"]), len(seen))
    whole = [*seen[:damaged_at], *after]
    mixed = [x for x in whole if x["vandalised"] or x["rows"] != x["expected"]]
    backward = sum(b["generation"] < a["generation"] for a, b in itertools.pairwise(seen))
    saw_damage = sum(x["vandalised"] > 0 for x in seen)
    return [
        Check("the reader never saw an empty table", empty == 0, f"{len(seen):,} reads"),
        Check(
            "the reader never saw a mixture",
            not mixed and backward == 0 and bool(after),
            f"{saw_damage:,} reads of the damaged table, then {len(after):,} of whole ones"
            + (f"; first wrong one: {mixed[0]}" if mixed else ""),
        ),
    ]
