"""The hash by which Kafka's clients choose a partition; that they do is tested against one
(`tests/contract/test_kafka_upsert.py`)."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from penstock.data.murmur2 import hashes


def murmur2(key: bytes) -> int:
    """Slowly, in Python's own numbers."""
    m, bits = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & bits
        k = (k ^ k >> 24) * m & bits
        h = (h * m & bits) ^ k
    if key[whole:]:
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & bits
    h = (h ^ h >> 13) * m & bits
    h ^= h >> 15
    return h - 2**32 if h >= 2**31 else h


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(0, 5))
def test_any_keys_of_a_column_and_of_a_part_of_one(keys: list[bytes], start: int) -> None:
    column = pa.array([b"", *keys], pa.binary())[start:]
    assert hashes(column).tolist() == [murmur2(k) for k in column.to_pylist()]
