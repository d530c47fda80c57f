"""The language of FORMAT_* and PARSE_* (sql-reference 2.10.8): strftime's, with fractions.

    "%Y-%m %.3f"   →   [Spec("Y"), Text("-"), Spec("m"), Space, Spec(".3f")]

Specifiers that stand for several others are taken apart here. Errors are ValueError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
#: from Monday, as ISO 8601 counts
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Text:
    """Characters that stand for themselves; blanks match any run of blanks when parsing."""

    text: str


@dataclass(frozen=True, slots=True)
class Spec:
    """`%name`; `pad` is the character that fills a number up, "" for none."""

    name: str
    pad: str = "0"


#: specifiers that are numbers: digits, default padding
NUMBERS: dict[str, tuple[int, str]] = {
    "Y": (4, "0"), "C": (2, "0"), "y": (2, "0"), "m": (2, "0"), "d": (2, "0"), "e": (2, " "),
    "w": (1, "0"), "u": (1, "0"), "U": (2, "0"), "W": (2, "0"), "G": (4, "0"), "g": (2, "0"),
    "V": (2, "0"), "j": (3, "0"), "H": (2, "0"), "k": (2, " "), "I": (2, "0"), "l": (2, " "),
    "M": (2, "0"), "S": (2, "0"), "f": (9, "0"), "s": (1, ""),
}  # fmt: skip
_DATES = frozenset("YCymdewuUWGgVjbhBaA")
_TIMES = frozenset("HkIlPpMSf")
FRACTIONS = {".f": 0, ".3f": 3, ".6f": 6, ".9f": 9, "3f": 3, "6f": 6, "9f": 9}
_SHORT_FORMS = {
    "D": "%m/%d/%y", "x": "%m/%d/%y", "F": "%Y-%m-%d", "v": "%e-%b-%Y",
    "R": "%H:%M", "T": "%H:%M:%S", "X": "%H:%M:%S", "r": "%I:%M:%S %p",
    "c": "%a %b %e %H:%M:%S %Y",
}  # fmt: skip
_PLAIN = {"t": "\t", "n": "\n", "%": "%"}
_SPEC = re.compile(r"%([-_0]?)(\.[369]?f|[369]f|[A-Za-z%])")
Item = Text | Spec


@lru_cache(maxsize=1024)
def items(format: str) -> tuple[Item, ...]:
    """The format in pieces. Raises ValueError for a specifier that there is not."""
    out: list[Item] = []
    at = 0
    while at < len(format):
        if format[at] != "%":
            end = format.find("%", at)
            end = len(format) if end < 0 else end
            out.append(Text(format[at:end]))
            at = end
            continue
        m = _SPEC.match(format, at)
        if m is None:
            raise bad_format(format, f"unknown specifier {format[at : at + 2]}")
        out += _specified(format, m[1], m[2])
        at = m.end()
    return tuple(out)


def _specified(format: str, modifier: str, name: str) -> list[Item]:
    if name in _PLAIN and not modifier:
        return [Text(_PLAIN[name])]
    if name in _SHORT_FORMS and not modifier:
        return list(items(_SHORT_FORMS[name]))
    if name in NUMBERS:
        pad = NUMBERS[name][1]
        return [Spec(name, {"-": "", "_": " ", "0": "0"}.get(modifier, pad))]
    if (name in _DATES or name in _TIMES or name in FRACTIONS) and not modifier:
        return [Spec(name)]
    raise bad_format(format, f"unknown specifier %{modifier}{name}")


def bad_format(format: str, why: str) -> ValueError:
    return ValueError(f"invalid format {format!r}: {why}")


def needs(item: Item) -> str:
    """What a value must have for the item: "" nothing, "date", "time" or "both"."""
    if isinstance(item, Text):
        return ""
    if item.name == "s":
        return "both"
    return "date" if item.name in _DATES else "time"
