"""What crosses the REST border: names, stamps and configurations in their published shapes.

    "Orders" ──fold──► "orders"          {"workers": 2} ──normalise──► every key, defaults filled in

Invariants: a normalised configuration is a fixed point of its `normalise` function; nothing here
knows a pipeline, a file or a socket.

Not here: the meaning of a setting (`pipeline/`), the life-cycle (`manager/`), HTTP (`server/`).
"""

from __future__ import annotations
