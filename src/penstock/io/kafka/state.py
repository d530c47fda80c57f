"""What a topic's writers leave for each other: the marker and what is being staged, as text.

Brokers take up to offset.metadata.max.bytes of it (4096 by default); it is about 600 and twelve a
partition.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.io.contracts import Marker
from penstock.io.outputs.fencing import marker_from_json, marker_to_json

#: open snapshots remembered; more than one only while writers of one connector compete
_OPEN = 8
_MOST_BYTES = 4_000


@dataclass(frozen=True, slots=True)
class TopicState:
    """`marker`: what is published. `open`: generation → attempt of snapshots being staged.
    `write`: the name of the transaction that left this state; `ends`: where each partition ended
    before it committed. A partition that ends earlier by now has lost records."""

    marker: Marker | None = None
    open: Mapping[int, str] = field(default_factory=dict)
    write: str = ""
    ends: tuple[int, ...] = ()

    def to_text(self) -> str:
        marker = None if self.marker is None else marker_to_json(self.marker)
        newest = sorted(self.open)[-_OPEN:]
        still_open = {str(g): self.open[g] for g in newest}
        told = {"marker": marker, "open": still_open, "write": self.write, "ends": self.ends}
        text = json.dumps(told)
        # of very many partitions they are not kept
        return text if len(text) <= _MOST_BYTES else json.dumps(told | {"ends": ()})

    def lost(self, ends: Mapping[int, int]) -> str:
        """What partitions that end at `ends` by now have lost; "" if nothing is known of it."""
        for partition, before in enumerate(self.ends):
            now = ends.get(partition, before)
            if now < before:
                return f"partition {partition} ended at {before} and ends at {now}"
        return ""

    @staticmethod
    def from_text(text: str | None) -> TopicState:
        """ValueError, KeyError or TypeError if it is not ours."""
        if not text:
            return TopicState()
        found = json.loads(text)
        marker = found["marker"] and marker_from_json(found["marker"])
        still_open = {int(g): str(a) for g, a in found["open"].items()}
        return TopicState(marker, still_open, found["write"], tuple(found.get("ends", ())))
