"""Text of one value → its canonical number or bytes: the slow, exact reading.

    kind                 canonical value
    integers             int within the type's range
    DECIMAL(p, s)        int, the unscaled value (12.5 as DECIMAL(5, 2) is 1250)
    REAL, DOUBLE         float
    DATE                 int, days since 1970-01-01
    TIME                 int, nanoseconds of the day
    TIMESTAMP [TZ]       int, microseconds since 1970-01-01 UTC
    UUID                 16 bytes

The fast readers of `columns` must accept nothing that this module refuses and must agree on
every value; a property test compares them. All functions raise `Invalid`.

Cost: about a microsecond a value; used for CSV and JSON only where the fast reader gave up.
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

from penstock.data.types import SIGNED, UNSIGNED, Kind, SqlType


class Invalid(Exception):
    """A value that its column cannot take. `text` is the offending value as it was written."""

    def __init__(self, description: str, text: str | None = None, hint: str | None = None) -> None:
        super().__init__(description)
        self.description = description
        self.text = text
        self.hint = hint


INT_BOUNDS: dict[Kind, tuple[int, int]] = {
    **{k: (-(1 << (8 << i) - 1), (1 << (8 << i) - 1) - 1) for i, k in enumerate(SIGNED)},
    **{k: (0, (1 << (8 << i)) - 1) for i, k in enumerate(UNSIGNED)},
}
#: 0001-01-01 and 9999-12-31: the days SQL literals can spell
MIN_DAY, MAX_DAY = -719162, 2932896
US_PER_DAY = 86_400_000_000
MIN_US, MAX_US = MIN_DAY * US_PER_DAY, (MAX_DAY + 1) * US_PER_DAY - 1
#: no literal of a legal value needs more characters, leading and trailing zeros aside
_LONGEST_NUMBER = 400

_EPOCH = datetime.date(1970, 1, 1).toordinal()
_INT = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?")
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2})?)?)?"
)
_UUID = re.compile(r"[0-9a-f]{4}(?:-?[0-9a-f]{4}){7}", re.I)
_SPECIAL_FLOATS = {"nan", "inf", "infinity", "-inf", "-infinity", "+inf", "+infinity"}


def check_integer(value: int, type: SqlType) -> int:
    low, high = INT_BOUNDS[type.kind]
    if not low <= value <= high:
        raise Invalid(
            f"{_short(str(value) if abs(value) < 10**60 else '<huge number>')} is out of range "
            f"for {type.with_nullable(True)}",
            hint=f"the range is {low} to {high}",
        )
    return value


def integer(text: str, type: SqlType) -> int:
    if not _INT.fullmatch(text) or len(text) > _LONGEST_NUMBER:
        raise Invalid(f"'{_short(text)}' is not an integer", text)
    return check_integer(int(text), type)


def decimal(text: str, type: SqlType) -> int:
    """The unscaled value, exactly; digits that the scale cannot hold are an error."""
    if not _NUMBER.fullmatch(text) or len(text) > _LONGEST_NUMBER:
        raise Invalid(f"'{_short(text)}' is not a number", text)
    return unscaled(Decimal(text), type)


def unscaled(value: Decimal, type: SqlType) -> int:
    precision, scale = type.precision or 38, type.scale or 0
    if not value:
        return 0
    # before anything is multiplied out: 1e999999999 must not become an integer
    if value.adjusted() + scale >= precision:
        raise Invalid(
            f"{_short(str(value))} is out of range for {type.with_nullable(True)}",
            hint=f"at most {precision - scale} digits fit before the decimal point",
        )
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    number = int("".join(map(str, digits)))
    shift = exponent + scale
    if shift >= 0:
        number *= 10**shift
    elif -shift > len(digits):
        number, rest = 0, 1
        _check_exact(rest, value, type)
    else:
        number, rest = divmod(number, 10**-shift)
        _check_exact(rest, value, type)
    return -number if sign else number


def _check_exact(rest: int, value: Decimal, type: SqlType) -> None:
    if rest:
        raise Invalid(
            f"{_short(str(value))} has more fractional digits than {type.with_nullable(True)} "
            "can hold",
            hint=f"round it to {type.scale or 0} fractional digits or declare a larger scale",
        )


def floating(text: str, type: SqlType, *, special: bool = False) -> float:
    """A finite float; with `special` (CSV) NaN and the infinities may be spelled too."""
    if special and text.lower() in _SPECIAL_FLOATS:
        return float(text)
    if not _NUMBER.fullmatch(text):
        raise Invalid(f"'{_short(text)}' is not a number", text)
    return check_float(float(text), type)


def check_float(value: float, type: SqlType) -> float:
    largest = 3.4028235677973366e38 if type.kind is Kind.REAL else 1.7976931348623157e308
    # 3.4028235677973366e38 is the first double that rounds to infinity as a binary32
    if not abs(value) < largest and not (type.kind is Kind.DOUBLE and abs(value) == largest):
        raise Invalid(f"{value!r} is out of range for {type.with_nullable(True)}")
    return value


def boolean(text: str) -> bool:
    value = {"true": True, "false": False}.get(text.lower())
    if value is None:
        raise Invalid(f"'{_short(text)}' is not a boolean", text, "write true or false")
    return value


def date(text: str) -> int:
    match = _DATE.fullmatch(text)
    if not match:
        raise Invalid(f"'{_short(text)}' is not a date", text, "write it as YYYY-MM-DD")
    return _days(text, *match.groups())


def time(text: str) -> int:
    match = _TIME.fullmatch(text)
    if not match:
        raise Invalid(f"'{_short(text)}' is not a time", text, "write it as HH:MM:SS[.fraction]")
    hour, minute, second, fraction = match.groups()
    return _seconds(text, hour, minute, second) * 10**9 + int((fraction or "0").ljust(9, "0"))


def timestamp(text: str) -> int:
    """Microseconds UTC; an offset is applied, digits below a microsecond are dropped."""
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        hint = "write it as YYYY-MM-DD HH:MM:SS[.fraction] or in RFC 3339 form"
        raise Invalid(f"'{_short(text)}' is not a timestamp", text, hint)
    year, month, day, hour, minute, second, fraction, _, sign, off_hour, off_minute = match.groups()
    micros = _days(text, year, month, day) * US_PER_DAY
    if hour is not None:
        micros += _seconds(text, hour, minute, second) * 10**6
        micros += int((fraction or "0").ljust(6, "0")[:6])
    if sign:
        if int(off_hour) > 23 or int(off_minute or 0) > 59:
            raise Invalid(f"'{_short(text)}' has an impossible UTC offset", text)
        offset = (int(off_hour) * 60 + int(off_minute or 0)) * 60_000_000
        micros += offset if sign == "-" else -offset
    return check_micros(micros, text)


def check_day(days: int, text: str) -> int:
    if not MIN_DAY <= days <= MAX_DAY:
        raise Invalid(f"'{_short(text)}' is outside the years 0001 to 9999", text)
    return days


def check_micros(micros: int, text: str) -> int:
    if not MIN_US <= micros <= MAX_US:
        raise Invalid(f"'{_short(text)}' is outside the years 0001 to 9999", text)
    return micros


def uuid(text: str) -> bytes:
    bare = text[1:-1] if text[:1] == "{" and text[-1:] == "}" else text
    if not _UUID.fullmatch(bare):
        hint = "write it as 32 hexadecimal digits, like 123e4567-e89b-12d3-a456-426655440000"
        raise Invalid(f"'{_short(text)}' is not a UUID", text, hint)
    return bytes.fromhex(bare.replace("-", ""))


def _days(text: str, year: str, month: str, day: str) -> int:
    try:
        return datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError as e:
        raise Invalid(f"'{_short(text)}' is not a date of the calendar ({e})", text) from None


def _seconds(text: str, hour: str, minute: str, second: str) -> int:
    h, m, s = int(hour), int(minute), int(second)
    if h > 23 or m > 59 or s > 59:
        raise Invalid(f"'{_short(text)}' is not a time of the day", text)
    return h * 3600 + m * 60 + s


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
