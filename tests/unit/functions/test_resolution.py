"""Any function with any number of arguments of any type is resolved or refused."""

from __future__ import annotations

import pytest

from penstock.data.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    NULL,
    TIMESTAMP,
    VARBINARY,
    VARCHAR,
    VARIANT,
    Kind,
    SqlType,
    array_of,
    decimal,
)
from penstock.errors import UserError
from penstock.functions.registry import names, resolve

TYPES = [
    NULL, BOOLEAN, INTEGER, decimal(10, 2), DOUBLE, VARCHAR, VARBINARY, DATE, TIMESTAMP, VARIANT,
    array_of(INTEGER), SqlType(Kind.INTERVAL_SHORT, unit="DAY"),
]  # fmt: skip


@pytest.mark.parametrize("count", range(6))
def test_a_function_of_any_arguments_is_resolved_or_refused(count: int) -> None:
    resolved = 0
    for name in filter(str.isidentifier, names()):
        for first in TYPES:
            for other in TYPES if count > 1 else [first]:
                given = [first, *[other] * (count - 1)][:count]
                try:
                    function = resolve(name, given)
                except UserError as error:
                    assert error.code == "NoOverload" or "unit" in str(error), (name, given)
                    continue
                assert len(function.arg_types) == count, name
                resolved += 1
    assert resolved
