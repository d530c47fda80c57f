"""What a topic's writers leave for each other, as offsets of the topic's group.

partition 0    its metadata text: marker, open snapshots, the topic's id, where each partition
               ended and under which leader; about 650 bytes and twelve a partition
others         only if that is more than brokers take (offset.metadata.max.bytes, 4096 by
               default): then where a partition ended is its offset
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from penstock.io.contracts import Marker
from penstock.io.kafka.ends import End
from penstock.io.outputs.fencing import marker_from_json, marker_to_json

#: open snapshots remembered; more than one only while writers of one connector compete
_OPEN = 8
_MOST_BYTES = 4_000


class Left(NamedTuple):
    """What goes into the group: partition 0's text, and an offset for each partition; the first
    of them only, if the text says where the others end."""

    text: str
    ends: Sequence[End]


@dataclass(frozen=True, slots=True)
class TopicState:
    """`marker`: what is published. `open`: generation → attempt of snapshots being staged.
    `write`: the name of the transaction that left this state; `topic`: the id of the topic that it
    wrote to; `ends`: where each partition ended before it committed. A partition that ends earlier
    by now has lost records."""

    marker: Marker | None = None
    open: Mapping[int, str] = field(default_factory=dict)
    write: str = ""
    topic: str = ""
    ends: tuple[End, ...] = ()

    def to_group(self) -> Left:
        marker = None if self.marker is None else marker_to_json(self.marker)
        newest = sorted(self.open)[-_OPEN:]
        still_open = {str(g): self.open[g] for g in newest}
        told = {"marker": marker, "open": still_open, "write": self.write, "topic": self.topic}
        ends = [e.offset for e in self.ends]
        text = json.dumps(told | {"ends": ends, "epochs": [e.epoch for e in self.ends]})
        if len(text) <= _MOST_BYTES:
            return Left(text, self.ends[:1] or (End(0),))
        return Left(json.dumps(told | {"partitions": len(ends)}), self.ends)

    def lost(self, ends: Mapping[int, End]) -> str:
        """What partitions that end at `ends` by now have lost; "" if nothing is known of it."""
        for partition, (before, _) in enumerate(self.ends):
            now = ends[partition].offset if partition in ends else before
            if now < before:
                return f"partition {partition} ended at {before} and ends at {now}"
        return ""

    @staticmethod
    def from_group(text: str | None, ends_of: Callable[[int], Sequence[End]]) -> TopicState:
        """`ends_of(n)`: the offsets that the group has of the first `n` partitions. ValueError,
        KeyError or TypeError if the text is not ours."""
        if not text:
            return TopicState()
        found = json.loads(text)
        marker = found["marker"] and marker_from_json(found["marker"])
        still_open = {int(g): str(a) for g, a in found["open"].items()}
        if "partitions" in found:
            ends = tuple(ends_of(int(found["partitions"])))
        else:
            # an earlier release knew no epochs
            offsets = found.get("ends", ())
            epochs = found.get("epochs") or [-1] * len(offsets)
            ends = tuple(map(End, offsets, epochs))
        return TopicState(marker, still_open, found["write"], found.get("topic", ""), ends)
