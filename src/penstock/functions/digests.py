"""MD5, XXHASH and GUNZIP of text and bytes (sql-reference 2.7, 2.9).

    MD5('Feldera') → '841afc2f…'      XXHASH('abc', 2) → 6026019377950218999

XXHASH is XXH64 (the published specification of the algorithm) of the UTF-8 bytes, as a BIGINT in
two's complement. Both digests are kernels; GUNZIP calls the standard library once a distinct value.
"""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import numpy as np

from penstock.data.batch import Column
from penstock.data.kernel import kernel
from penstock.data.types import BIGINT, VARCHAR
from penstock.functions import text_kernels
from penstock.functions.binary import hex_of
from penstock.functions.definition import define
from penstock.functions.distinct import per_distinct
from penstock.functions.md5 import digests
from penstock.functions.params import BYTES, LONG, STRING

_P1, _P2 = np.uint64(11400714785074694791), np.uint64(14029467366897019727)
_P3, _P4, _P5 = (
    np.uint64(1609587929392839161),
    np.uint64(9650029242287828579),
    np.uint64(2870177450012600261),
)


@kernel("void(uint8[::1], int64[::1], uint64[::1], uint64[::1])")
def _xxh64(data: Any, offsets: Any, seeds: Any, out: Any) -> None:
    ss, sd = np.int64(offsets.shape[0] > 2), np.int64(seeds.shape[0] > 1)
    for i in range(out.shape[0]):
        at, end = offsets[i * ss], offsets[i * ss + 1]
        size, seed = end - at, seeds[i * sd]
        if size >= 32:
            lanes = (seed + _P1 + _P2, seed + _P2, seed, seed - _P1)
            a, b, c, d = lanes
            while at + 32 <= end:
                for lane in range(4):
                    word = np.uint64(0)
                    for j in range(8):
                        word |= np.uint64(data[at + 8 * lane + j]) << np.uint64(8 * j)
                    v = a if lane == 0 else b if lane == 1 else c if lane == 2 else d
                    v += word * _P2
                    v = ((v << np.uint64(31)) | (v >> np.uint64(33))) * _P1
                    if lane == 0:
                        a = v
                    elif lane == 1:
                        b = v
                    elif lane == 2:
                        c = v
                    else:
                        d = v
                at += 32
            h = ((a << np.uint64(1)) | (a >> np.uint64(63))) + (
                (b << np.uint64(7)) | (b >> np.uint64(57))
            )
            h += ((c << np.uint64(12)) | (c >> np.uint64(52))) + (
                (d << np.uint64(18)) | (d >> np.uint64(46))
            )
            for lane in range(4):
                v = a if lane == 0 else b if lane == 1 else c if lane == 2 else d
                v *= _P2
                v = ((v << np.uint64(31)) | (v >> np.uint64(33))) * _P1
                h = (h ^ v) * _P1 + _P4
        else:
            h = seed + _P5
        h += np.uint64(size)
        while at + 8 <= end:
            word = np.uint64(0)
            for j in range(8):
                word |= np.uint64(data[at + j]) << np.uint64(8 * j)
            word *= _P2
            word = ((word << np.uint64(31)) | (word >> np.uint64(33))) * _P1
            h ^= word
            h = ((h << np.uint64(27)) | (h >> np.uint64(37))) * _P1 + _P4
            at += 8
        if at + 4 <= end:
            word = np.uint64(0)
            for j in range(4):
                word |= np.uint64(data[at + j]) << np.uint64(8 * j)
            h ^= word * _P1
            h = ((h << np.uint64(23)) | (h >> np.uint64(41))) * _P2 + _P3
            at += 4
        while at < end:
            h ^= np.uint64(data[at]) * _P5
            h = ((h << np.uint64(11)) | (h >> np.uint64(53))) * _P1
            at += 1
        h ^= h >> np.uint64(33)
        h *= _P2
        h ^= h >> np.uint64(29)
        h *= _P3
        h ^= h >> np.uint64(32)
        out[i] = h


def _hashed(s: Column, seeds: Any) -> Column:
    out = np.empty(max(len(s), len(seeds)), np.uint64)
    _xxh64(*text_kernels.flat(s), np.ascontiguousarray(seeds).view(np.uint64), out)
    return Column(BIGINT, out.view(np.int64))


for _param in (STRING, BYTES):

    @define("XXHASH", [_param], BIGINT)
    def xxhash(s: Column, n: int) -> Column:
        return _hashed(s, np.zeros(1, np.int64))

    @define("XXHASH", [_param, LONG], BIGINT)
    def xxhash_seeded(s: Column, seed: Column, n: int) -> Column:
        return _hashed(s, seed.values)


for _param in (STRING, BYTES):

    @define("MD5", [_param], VARCHAR)
    def md5(s: Column, n: int) -> Column:
        out = digests(*text_kernels.flat(s)).reshape(-1)
        return hex_of(out, np.arange(0, len(out) + 1, 16))


def _unzipped(raw: bytes) -> str:
    try:
        return gzip.decompress(raw).decode()
    except (OSError, EOFError, zlib.error) as e:
        raise ValueError(f"GUNZIP of bytes that are not gzip: {e}") from None
    except UnicodeDecodeError:
        raise ValueError("GUNZIP of bytes that are not UTF-8 text") from None


@define("GUNZIP", [BYTES], VARCHAR, can_fail=True)
def gunzip(b: Column, n: int) -> Column:
    return per_distinct(_unzipped, (b,))
