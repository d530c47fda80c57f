"""What a value is, as text: equal for equal values, in this process and any other.

    InputRef(type=…, index=0)    ──►    InputRef(SqlType(Kind.INT64,False,…),0)

Values are those that plans and operators are described by: frozen dataclasses, tuples, enums and
Python's own. A dataclass is its class and the fields that take part in comparison, so spans of
program text and kernels are left out just as `==` leaves them out.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any


def identity(value: Any) -> str:
    """See the module. Raises TypeError for a value whose text would not be stable."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"({','.join(identity(v) for v in value)})"
    if isinstance(value, Mapping):
        items = sorted((identity(k), identity(v)) for k, v in value.items())
        return f"{{{','.join(f'{k}:{v}' for k, v in items)}}}"
    if dataclasses.is_dataclass(value):
        fields = [f for f in dataclasses.fields(value) if f.compare]
        return (
            f"{type(value).__name__}({','.join(identity(getattr(value, f.name)) for f in fields)})"
        )
    if type(value).__module__ in ("decimal", "datetime", "uuid"):
        return repr(value)
    raise TypeError(f"no stable text for {type(value).__name__}")


def digest(*parts: str) -> str:
    """32 hexadecimal digits that tell lists of texts apart."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        hashed.update(len(raw).to_bytes(8, "little") + raw)
    return hashed.hexdigest()
