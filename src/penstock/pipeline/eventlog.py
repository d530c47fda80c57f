"""Log lines as events: a name, then `key=value` pairs; values with blanks are quoted.

reset_accepted endpoint=m.db generation=4 token=9f… reason=request mode=replace
sink_unavailable endpoint=m.db attempt=3 retry_in_s=0.4 error="connection refused"
"""

from __future__ import annotations

import json
import logging
from typing import Any


def event(log: logging.Logger, name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log `name` with `fields`, in the order given."""
    if not log.isEnabledFor(level):
        return
    log.log(level, "%s", " ".join((name, *(f"{k}={_spelt(v)}" for k, v in fields.items()))))


def _spelt(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    is_plain = text and not any(c.isspace() or c in '"=' for c in text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)
