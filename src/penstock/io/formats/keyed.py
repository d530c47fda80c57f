"""Rows by key, for targets that hold one value a key: keys → bytes, rows → bytes.

    json    key {"id": 1}     value {"id": 1, "v": "a"}     a gone key has no value

Avro rows are another implementation (`avro_encoder`). Equal keys have equal bytes, so a target may
compare bytes. `update_format` is "raw" (or left out); `json_flavor` as for the json encoder.

Source: contract section 7.5 has json without an index only; with one it is ours.
Cost: see `joined`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.formats.flavors import FLAVORS
from penstock.io.formats.joined import json_rows
from penstock.io.formats.options import ENCODER_ERROR, Options
from penstock.io.formats.spelling import check_columns


class KeyedEncoder(ABC):
    """Weights are ignored; the results, large_binary, are in the order of the rows."""

    @abstractmethod
    def keys(self, keys: Batch) -> pa.Array:
        """Rows of the key columns only."""

    @abstractmethod
    def values(self, rows: Batch) -> pa.Array: ...


class JsonRows(KeyedEncoder):
    def __init__(self, config: Mapping[str, Any] | None, schema: Schema) -> None:
        o = Options.of("json encoder", ENCODER_ERROR, config)
        update_format = o.text("update_format", "raw")
        if update_format != "raw":
            raise UserError(
                f"json encoder: with an index each record is the row of its key, which is "
                f"update_format 'raw'; '{update_format}' is for connectors without an index",
                code="ConfigError.OutputFormatNotSupported",
                details={"option": "update_format", "value": update_format},
            )
        self._flavor = FLAVORS[o.choice("json_flavor", "default", tuple(FLAVORS))]
        if o.boolean("array", False):
            raise o.fail("array", "cannot be true: with an index a record is one row")
        o.integer("buffer_size_records", 1)
        o.done()
        check_columns(schema, "json")

    def keys(self, keys: Batch) -> pa.Array:
        return self.values(keys)

    def values(self, rows: Batch) -> pa.Array:
        return json_rows(rows, self._flavor).cast(pa.large_binary())
