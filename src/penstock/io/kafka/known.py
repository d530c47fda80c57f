"""What is known of a compacted topic without reading it, from one publish to the next.

    a scan ends at E     ─►  what the topic has up to E
    we write n records   ─►  and up to E + n + markers, if that is where the partitions end by then

If a partition ends elsewhere, somebody else wrote beside us, or a transaction of ours was aborted
and done again; what is in between is not told apart, the topic is not known, and is scanned anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.io.kafka.topic import is_known

if TYPE_CHECKING:
    from penstock.io.kafka.ends import End
    from penstock.io.kafka.state import TopicState


class Known(NamedTuple):
    """The store has the keys of topic `id` up to the offsets `ends`."""

    id: str
    ends: tuple[int, ...]
    outages: int = 0

    def holds(self, state: TopicState, partitions: int, outages: int) -> bool:
        """`state` is as read or checked by the writer: what its `ends` say is there. The topic has
        so many `partitions` by now; with more of them a key belongs elsewhere. After an `outage` a
        cluster may have been put back from a copy, and partitions filled up to where they ended."""
        return (
            is_known(self.id)
            and self.outages == outages
            and self.id == state.topic
            and len(self.ends) == len(state.ends) == partitions
            and all(end.offset >= known for end, known in zip(state.ends, self.ends, strict=True))
        )


class Tally:
    """Where the partitions must end if none but we write: a record takes an offset, and so does
    the marker by which a transaction is over in a partition that it wrote to."""

    def __init__(self, ends: Sequence[int]) -> None:
        self._ends = np.array(ends, np.int64)
        self.is_right = True

    def add(self, records: npt.NDArray[np.int64], ends: Sequence[End]) -> None:
        """A transaction of so many records a partition, before the commit of which they ended
        there."""
        found = np.array([e.offset for e in ends], np.int64)
        self.is_right &= len(found) == len(self._ends) and bool(
            (self._ends + records == found).all()
        )
        if self.is_right:
            self._ends = found + (records > 0)
