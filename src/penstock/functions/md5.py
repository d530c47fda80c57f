"""MD5 of a column of text or bytes, a kernel (RFC 1321).

    digests(data, offsets)  →  uint8[n, 16]

The constants are the RFC's: word i adds ⌊2³²·|sin(i + 1)|⌋, the shifts repeat by round.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penstock.data.batch import Array
from penstock.data.kernel import kernel

_ADDED = np.array([int(2**32 * abs(math.sin(i + 1))) for i in range(64)], np.uint32)
_SHIFTS = np.repeat(
    np.array([[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]], np.uint32),
    4,
    axis=0,
).reshape(-1)
#: the word of the block that each of the 64 operations takes
_WORDS = np.array([(i, 5 * i + 1, 3 * i + 5, 7 * i)[i // 16] % 16 for i in range(64)], np.int64)
_START = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476], np.uint32)
_BLOCK = 64


@kernel("void(uint8[::1], int64[::1], uint8[:, ::1])")
def _md5(data: Any, offsets: Any, out: Any) -> None:
    block = np.empty(_BLOCK, np.uint8)
    words = np.empty(16, np.uint32)
    state = np.empty(4, np.uint32)
    for i in range(out.shape[0]):
        at, size = offsets[i], offsets[i + 1] - offsets[i]
        for j in range(4):
            state[j] = _START[j]
        # the bytes, 0x80, zeros, and the length in bits as the last eight bytes of a block
        for start in range(0, size + 9, _BLOCK):
            for j in range(_BLOCK):
                place = start + j
                if place < size:
                    block[j] = data[at + place]
                elif place == size:
                    block[j] = 0x80
                else:
                    block[j] = 0
            if start + _BLOCK >= size + 9:
                bits = np.uint64(size) << np.uint64(3)
                for j in range(8):
                    block[56 + j] = np.uint8((bits >> np.uint64(8 * j)) & np.uint64(255))
            for j in range(16):
                words[j] = (
                    np.uint32(block[4 * j])
                    | np.uint32(block[4 * j + 1]) << np.uint32(8)
                    | np.uint32(block[4 * j + 2]) << np.uint32(16)
                    | np.uint32(block[4 * j + 3]) << np.uint32(24)
                )
            a, b, c, d = state[0], state[1], state[2], state[3]
            for k in range(64):
                if k < 16:
                    mixed = (b & c) | (~b & d)
                elif k < 32:
                    mixed = (d & b) | (~d & c)
                elif k < 48:
                    mixed = b ^ c ^ d
                else:
                    mixed = c ^ (b | ~d)
                total = np.uint32(a + mixed + _ADDED[k] + words[_WORDS[k]])
                shift = _SHIFTS[k]
                turned = np.uint32(total << shift) | np.uint32(total >> (np.uint32(32) - shift))
                a, b, c, d = d, np.uint32(b + turned), b, c
            state[0] = np.uint32(state[0] + a)
            state[1] = np.uint32(state[1] + b)
            state[2] = np.uint32(state[2] + c)
            state[3] = np.uint32(state[3] + d)
        for j in range(16):
            out[i, j] = np.uint8((state[j // 4] >> np.uint32(8 * (j % 4))) & np.uint32(255))


def digests(data: Array, offsets: Array) -> Array:
    """uint8[n, 16] of the byte strings data[offsets[i]:offsets[i + 1]]."""
    out = np.empty((len(offsets) - 1, 16), np.uint8)
    _md5(data, offsets, out)
    return out
