"""Functions of bytes (sql-reference 2.9): OCTET_LENGTH, TO_HEX, TO_INT, BIN2UTF8.

    TO_HEX(x'0abc') → '0abc'      TO_INT(x'0abc') → 2748      BIN2UTF8(x'ff') → NULL

LEFT, SUBSTRING and the like are in `parts`, beside those of text; digests in `digests`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from penstock.data.batch import Array, Column
from penstock.data.types import INTEGER, VARCHAR
from penstock.data.views import lengths_of, make_views
from penstock.functions import text, text_kernels
from penstock.functions.definition import define
from penstock.functions.distinct import per_distinct
from penstock.functions.params import BYTES

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


@define("OCTET_LENGTH", [BYTES], INTEGER)
def octet_length(b: Column, n: int) -> Column:
    return Column(INTEGER, lengths_of(b.values).astype(np.int32))


def hex_of(data: Array, offsets: Array) -> Column:
    """Byte strings data[offsets[i]:offsets[i + 1]] as text, two digits a byte."""
    digits = np.stack((_HEX[data >> 4], _HEX[data & 15]), axis=1).reshape(-1)
    views, heaps = make_views(digits, offsets * 2, None)
    return Column(VARCHAR, views, None, heaps)


@define("TO_HEX", [BYTES], VARCHAR)
def to_hex(b: Column, n: int) -> Column:
    return hex_of(*text_kernels.flat(b))


@define("TO_INT", [BYTES], INTEGER)
def to_int(b: Column, n: int) -> Column:
    """The first four bytes, big-endian; fewer are the plain number."""
    first = (b.values[:, 0] >> np.uint64(32)).astype(np.uint32).byteswap()
    unused = 8 * (4 - np.minimum(lengths_of(b.values), 4))
    # a shift by 32 is not defined, and an empty string has no bytes anyway
    value = np.where(unused == 32, 0, first >> np.minimum(unused, 31).astype(np.uint32))
    return Column(INTEGER, value.astype(np.uint32).view(np.int32))


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def utf8(b: Column) -> Column:
    """Bytes as text, NULL where they are not UTF-8."""
    array = text.to_arrow(b)
    try:
        array.cast(pa.utf8())  # validates everything at once
    except pa.ArrowInvalid:
        return per_distinct(_decoded, (b,), VARCHAR)
    return b.with_type(VARCHAR)


@define("BIN2UTF8", [BYTES], VARCHAR, nullable=True)
def bin2utf8(b: Column, n: int) -> Column:
    return utf8(b)
