"""Fingerprints: of a schema, of a configuration, and of a multiset of rows.

The digest is commutative, so the engine keeps it incrementally: the digest of a view after a
delta is the sum of both digests (spec/reset.md section 3, "Marker").

Cost: one hash a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from penstock.data.batch import Batch
from penstock.data.hash import hash_columns
from penstock.data.types import Schema


def schema_hash(schema: Schema) -> str:
    """A short fingerprint of column names and types."""
    text = "\n".join(f"{f.name} {f.type}" for f in schema.fields)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def batch_digest(batch: Batch) -> int:
    """Σ weight × hash(row) mod 2⁶⁴: the same for equal multisets, whatever the order."""
    if len(batch) == 0:
        return 0
    hashes = hash_columns(batch.columns, 0)
    with np.errstate(over="ignore"):
        return int((hashes * batch.weights.view(np.uint64)).sum(dtype=np.uint64))


def config_digest(config: Mapping[str, Any]) -> str:
    """A short fingerprint of a connector's configuration, secrets unresolved."""
    text = orjson.dumps(config, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]
