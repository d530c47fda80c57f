"""CONNECTOR_METADATA() of DEFAULT expressions: what a connector says about a record.

    deleted BOOLEAN DEFAULT CAST(CONNECTOR_METADATA()['is_delete'] AS BOOLEAN)

It is a VARIANT, a map of text keys; NULL where a connector says nothing. `is_delete` is TRUE for a
deletion that a connector with soft_delete takes in as a row; `kafka_input` has keys of its own. Its
value is the evaluator's to give (`default_columns` and `record_defaults` of
`penstock.compile.program`); the kernel here says nothing.
"""

from __future__ import annotations

from penstock.data.batch import Column
from penstock.data.build import null_column
from penstock.data.types import VARIANT
from penstock.functions.definition import define

METADATA = "CONNECTOR_METADATA"
#: of a deletion that becomes a row, as JSON
DELETED = '{"is_delete":true}'


@define(METADATA, [], VARIANT, nullable=True)
def connector_metadata(n: int) -> Column:
    return null_column(VARIANT, 1)
