"""How many examples a random test tries: `max_examples=examples(N)`.

All N by default and in `make test-all`, the percentage EXAMPLES_PERCENT of them in `make test`,
whose seed is always the same: what matters there is that every kind of mistake is met, and
`tests/mutations.py` counts whether it is.
"""

from __future__ import annotations

import os

_PERCENT = int(os.environ.get("EXAMPLES_PERCENT", "100"))
_LEAST = 10


def examples(number: int) -> int:
    return max(min(number, _LEAST), number * _PERCENT // 100)
