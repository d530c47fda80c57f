"""Text as TIMESTAMP WITH TIME ZONE: a column of it, or a literal.

    2020-01-01 10:00:00 America/New_York    →   2020-01-01 15:00:00 UTC
    2020-01-01 10:00:00.5+05:30             an offset, also +0530 and +05; Z and none are UTC

The date and time are those of TIMESTAMP (`text_parse.moments`); a blank before the zone may lack.
A time that the zone's clocks skip does not exist; one that they show twice is the earlier.
Arrow takes the text apart and knows the zones' rules; a call for each distinct zone.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Column
from penstock.data.types import TIMESTAMP_TZ
from penstock.functions import calendar, text, text_parse
from penstock.functions.cast_parts import Bad
from penstock.functions.distinct import groups
from penstock.functions.text_parse import DATE_PART, TIME_PART
from penstock.functions.zones import in_utc, zone

_PARTS = (
    r"^(?P<at>\d+-\d+-\d+(?:[ T]\d+:\d+:\d+(?:\.\d*)?)?) ?"
    r"(?:(?P<hours>[+-]\d\d)(?::?(?P<minutes>\d\d))?|(?P<name>[A-Za-z][A-Za-z0-9_/+-]*))?$"
)


def instants(column: Column) -> tuple[Column, Bad]:
    """(TIMESTAMP_TZ, the rows that are not of the grammar, or outside the years 1 to 9999)."""
    parts = pc.extract_regex(text.to_arrow(column), _PARTS)
    at, hours, minutes, name = parts.flatten()  # '' for a part that is not there
    days, clock, bad = text_parse.moments(text.from_arrow(at), DATE_PART | TIME_PART)
    bad = bad | ~np.asarray(parts.is_valid())
    us = np.where(bad, 0, days) * calendar.DAY_US + clock // 1000
    offset = pc.binary_join_element_wise(hours, pc.replace_substring_regex(minutes, "^$", "00"), "")
    spelled = pc.if_else(pc.equal(hours, ""), name, offset)
    for (word,), rows in groups((text.from_arrow(spelled),)) if len(column) else ():
        source = zone(word or "UTC")
        if source is None:
            bad[rows] = True
        else:
            us[rows], exists = in_utc(us[rows], source)
            bad[rows] |= ~exists
    days = us // calendar.DAY_US
    bad |= (days < calendar.FIRST_DAY) | (days > calendar.LAST_DAY)
    return Column(TIMESTAMP_TZ, np.where(bad, 0, us)), bad


def instant(spelling: str) -> int | None:
    """Microseconds since 1970 UTC of one text, None for what is no instant."""
    value, bad = instants(text.from_arrow(pa.array([spelling], pa.string())))
    return None if bad is not None and bad[0] else int(value.values[0])
