"""When what is known of a compacted topic still holds, and how a stranger's records show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from penstock.io import outputs  # noqa: F401  the sinks before what they share
from penstock.io.kafka.ends import End
from penstock.io.kafka.known import Known, Tally
from penstock.io.kafka.state import TopicState
from penstock.io.kafka.topic import NO_ID

STATE = TopicState(topic="one", ends=(End(10, 1), End(20, 1)))


def test_known_holds_while_the_topic_is_the_same_and_no_shorter() -> None:
    known = Known("one", (10, 15))
    assert known.holds(STATE, 2, 0)
    assert not known.holds(replace(STATE, topic="another"), 2, 0)
    assert not known.holds(replace(STATE, ends=(End(9), End(20))), 2, 0)
    assert not known.holds(replace(STATE, ends=(End(10), End(20), End(0))), 3, 0)
    assert not known.holds(STATE, 3, 0)  # it has grown since
    assert not known.holds(STATE, 2, 1)  # the brokers were away
    assert not known.holds(replace(STATE, topic="", ends=()), 2, 0)  # as after records were lost
    assert not known.holds(TopicState(), 2, 0)


@pytest.mark.parametrize("id", ["", NO_ID])
def test_a_topic_without_an_id_might_have_been_made_anew(id: str) -> None:
    assert not Known(id, (10, 15)).holds(replace(STATE, topic=id), 2, 0)


@pytest.mark.parametrize(
    ("transactions", "is_right"),
    [
        ([([3, 0], [13, 20])], True),
        ([([3, 0], [13, 20]), ([0, 2], [14, 22]), ([0, 0], [14, 23])], True),
        ([([0, 0], [10, 20])], True),
        ([([3, 0], [14, 20])], False),  # a record more
        ([([3, 0], [13, 21])], False),  # in a partition that was not written to
        ([([3, 0], [14, 20]), ([0, 2], [15, 22])], False),
        ([([3, 0], [13, 20]), ([0, 2], [13, 23])], False),  # no marker here, a record there
        ([([3, 0], [12, 20])], False),
        ([([3, 0], [13, 20, 0])], False),
    ],
    ids=str,
)
def test_what_only_we_wrote_adds_up(
    transactions: list[tuple[list[int], list[int]]], is_right: bool
) -> None:
    tally = Tally([10, 20])
    for records, ends in transactions:
        tally.add(np.array(records), [End(e) for e in ends])
    assert tally.is_right == is_right
