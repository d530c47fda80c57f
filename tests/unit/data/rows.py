"""Rows of every type for property tests, with the values that kernels get wrong."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections import Counter
from typing import Any

from hypothesis import strategies as st

from penstock.data.batch import Batch
from penstock.data.build import batch_to_rows
from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    REAL,
    SMALLINT,
    TIME,
    TIMESTAMP,
    TINYINT,
    UBIGINT,
    UUID,
    VARBINARY,
    VARCHAR,
    SqlType,
)
from penstock.data.types import (
    decimal as decimal_type,
)

NAN = float("nan")
TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", "twelve bytes", "thirteen byte", "prefix so long a", "prefix so long b"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=16),
)
WIDE_DECIMALS = st.integers(-(10**38) + 1, 10**38 - 1).map(
    lambda i: decimal.Decimal(i).scaleb(-4, decimal.Context(prec=80))
)
DAY = datetime.date(1970, 1, 1)

VALUES: list[tuple[SqlType, st.SearchStrategy[Any]]] = [
    (BOOLEAN, st.booleans()),
    (TINYINT, st.integers(-128, 127)),
    (SMALLINT, st.sampled_from([-(2**15), -1, 0, 1, 2**15 - 1])),
    (BIGINT, st.one_of(st.integers(-3, 3), st.sampled_from([-(2**63), 2**63 - 1]))),
    (UBIGINT, st.sampled_from([0, 1, 2**63, 2**64 - 1])),
    (REAL, st.floats(width=32)),
    (DOUBLE, st.one_of(st.floats(), st.sampled_from([0.0, -0.0, NAN, math.inf, -math.inf]))),
    (decimal_type(38, 4), st.one_of(WIDE_DECIMALS, st.integers(-2, 2).map(decimal.Decimal))),
    (VARCHAR, TEXTS),
    (VARBINARY, st.binary(max_size=20)),
    (DATE, st.integers(-700_000, 2_900_000).map(lambda d: DAY + datetime.timedelta(days=d))),
    (TIME, st.integers(0, 86_400 * 10**9 - 1)),
    (TIMESTAMP, st.integers(-(2**50), 2**50)),
    (UUID, st.integers(0, 2**128 - 1).map(lambda i: uuid.UUID(int=i))),
]


def plain(value: Any) -> Any:
    """A value that compares and hashes as SQL groups it: NaN equals NaN, -0.0 equals 0.0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return value


def plain_row(row: Any) -> Any:
    return tuple(map(plain, row))


def counted(batch: Batch) -> Counter[Any]:
    """The Z-set of a batch, by the slow way."""
    total: Counter[Any] = Counter()
    for row, weight in batch_to_rows(batch):
        total[plain_row(row)] += weight
    return Counter({row: weight for row, weight in total.items() if weight})
