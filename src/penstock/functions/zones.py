"""CONVERT_TIMEZONE(from, to, timestamp): a time on one zone's clocks as another's (2.10.4).

    ('America/New_York', 'America/Los_Angeles', 2008-03-05 12:25:29)   →   2008-03-05 09:25:29
    ('UTC', '+08:00', …)                                                   a fixed offset

NULL for an unknown zone and for a time that the first zone's clocks skip. A time that they show
twice is the earlier one. All rows with the same pair of zones are converted in one call; the zones'
rules are Arrow's, from the machine's time zone database. Its tables end with 2037: what comes
later follows the rule that each zone states for all time, which `zoneinfo` reads. It is asked for
a zone's changes once a year of the data.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Array, Column
from penstock.data.types import TIMESTAMP, VARCHAR, Kind
from penstock.errors import RuntimeSqlError
from penstock.functions import calendar
from penstock.functions.definition import Literals, Overload, Types, define_typed
from penstock.functions.distinct import groups
from penstock.functions.params import MOMENT, STRING

_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_KNOWN = "Europe/Paris"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: 2037-01-01 in µs
_TABLES_END = 2_114_380_800_000_000
#: 400 years, after which the calendar, and so a rule's every day, repeats
_CYCLE = 146_097 * calendar.DAY_US


@lru_cache(maxsize=1024)
def zone(name: str) -> int | str | None:
    """A fixed offset from UTC in µs, the name of a zone, or None for neither."""
    if name in ("UTC", "Z"):
        return 0
    m = _OFFSET.fullmatch(name)
    if m:
        hours, minutes = int(m[2]), int(m[3])
        if hours > 23 or minutes > 59:
            return None
        return (hours * 60 + minutes) * 60_000_000 * (1 if m[1] == "+" else -1)
    return name if name and _has_zone(name) else None


def _has_zone(name: str) -> bool:
    try:
        pc.assume_timezone(pa.array([0], pa.timestamp("us")), name)
    except pa.ArrowInvalid:
        if name == _KNOWN:
            raise RuntimeSqlError("this machine has no time zone database (tzdata)") from None
        if not _has_zone(_KNOWN):
            raise
        return False
    return True


def in_utc(us: Array, source: int | str) -> tuple[Array, Array]:
    """(µs UTC of times on the clocks of `source`, whether there are such times)."""
    if isinstance(source, int):
        return us - source, np.ones(len(us), np.bool_)
    late = us >= _TABLES_END
    if late.any():
        utc, ok = np.empty_like(us), np.empty(len(us), np.bool_)
        utc[~late], ok[~late] = _in_utc_by_tables(us[~late], source)
        utc[late], ok[late] = _in_utc_by_rule(us[late], source)
        return utc, ok
    return _in_utc_by_tables(us, source)


def _in_utc_by_tables(us: Array, source: str) -> tuple[Array, Array]:
    local = pa.array(us, pa.timestamp("us"))
    instants = pc.assume_timezone(local, source, ambiguous="earliest", nonexistent="earliest")
    utc = np.asarray(instants.cast(pa.int64()))
    return utc, _from_utc(utc, source) == us


def _from_utc(us: Array, target: int | str) -> Array:
    if isinstance(target, int):
        return us + target
    instants = pa.array(us, pa.timestamp("us", target))
    local = np.asarray(pc.local_timestamp(instants).cast(pa.int64()))
    late = us >= _TABLES_END
    if late.any():
        local = local.copy()
        local[late] = us[late] + _offsets(us[late], target)
    return local


def _in_utc_by_rule(us: Array, source: str) -> tuple[Array, Array]:
    """Of the offsets around each time the greatest that agrees: it is the earlier instant."""
    utc = us - _offsets(us, source)
    ok = np.zeros(len(us), np.bool_)
    for offset in np.unique(
        [_offsets(us + d, source) for d in (-calendar.DAY_US, calendar.DAY_US)]
    ):
        fits = _offsets(us - offset, source) == offset
        utc, ok = np.where(fits, us - offset, utc), ok | fits
    return utc, ok


def _offsets(us: Array, name: str) -> Array:
    """µs by which the zone's clocks are ahead of UTC at instants, by the zone's rule."""
    us = np.where(us < _TABLES_END, us, _TABLES_END + (us - _TABLES_END) % _CYCLE)
    years = us.astype("M8[us]").astype("M8[Y]").astype(np.int64) + 1970
    out = np.zeros(len(us), np.int64)
    for year in np.unique(years):
        starts, offsets = _changes(name, int(year))
        here = years == year
        out[here] = offsets[np.maximum(np.searchsorted(starts, us[here], side="right") - 1, 0)]
    return out


@lru_cache(maxsize=4096)
def _changes(name: str, year: int) -> tuple[Array, Array]:
    """(instants from which offsets hold, the offsets) of the UTC year: its start and its changes.

    A zone changes its clocks at most once a day."""
    info = ZoneInfo(name)

    def offset(second: int) -> int:
        found = (_EPOCH + timedelta(seconds=second)).astimezone(info).utcoffset()
        return 0 if found is None else found // timedelta(microseconds=1)

    first = (datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
    days = range(first, first + 365 * 86_400, 86_400)
    starts, offsets = [first], [offset(first)]
    for day in days:
        end = day + 86_400
        if offset(end) != offsets[-1]:
            low, high = day, end  # the offset changes in (low, high]
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
            starts.append(high)
            offsets.append(offset(high))
    return np.array(starts) * 1_000_000, np.array(offsets)


def _convert(source: Column, target: Column, at: Column) -> Column:
    n = max(len(source), len(target), len(at))
    us = np.array(np.broadcast_to(at.values, n))
    ok = np.zeros(n, np.bool_)
    for (first, second), rows in groups((source, target)):
        a = None if first is None else zone(first)
        b = None if second is None else zone(second)
        here = np.arange(n) if len(source) == len(target) == 1 else rows
        if a is not None and b is not None:
            utc, ok[here] = in_utc(us[here], a)
            us[here] = _from_utc(utc, b)
    days = us // calendar.DAY_US
    ok &= (days >= calendar.FIRST_DAY) & (days <= calendar.LAST_DAY)
    return Column(TIMESTAMP, us, ok.astype(np.uint8))


@define_typed("CONVERT_TIMEZONE", "CONVERT_TIMEZONE(from, to, timestamp)")
def convert_timezone(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 3 or not (STRING.exact(types[0]) and STRING.exact(types[1])):
        return None
    at = MOMENT.accept(types[2])
    if at is None or at.kind is Kind.TIMESTAMP_TZ:
        return None
    zones = tuple(STRING.exact(t) or VARCHAR for t in types[:2])
    return Overload((*zones, TIMESTAMP), TIMESTAMP, lambda args, n: _convert(*args), nullable=True)
