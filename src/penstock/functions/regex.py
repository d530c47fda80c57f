"""Regular expressions of the dialect (sql-reference 2.8) → RE2's, which Arrow has.

    (?<a>\\w+)\\u0041   →   (?P<a>[\\p{L}…]+)\\x{41}
    ${a}-$1$$          →   \\1-\\1$

Both engines search in linear time and know neither look-around nor back-references; they differ
in spelling (`(?<name>`, `\\u`), in \\d \\w \\s (Unicode there, ASCII in RE2) and in what they
refuse: a lone `{`, an unknown escape, `[a[b]]`. `parsed` evens that out. Word boundaries are those
of ASCII words.

Errors are ValueError with the pattern; the caller knows the row.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_WORD = r"\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}"
_SPACE = r"\t\n\x0b\f\r \x{85}\p{Z}"
#: what is no part of a word, or no space, for use inside brackets, where RE2's own \W and \S are
#: those of ASCII; what Unicode has not assigned is not in the first
_NO_WORD = r"\p{No}\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Po}\p{S}\p{Z}\p{C}"
_NO_SPACE = (
    r"!-\x{84}\x00-\x08\x{e}-\x{1f}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}"
    r"\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff}"
)
#: class escapes: (outside brackets, inside)
_CLASSES = {
    "d": (r"\p{Nd}", r"\p{Nd}"), "D": (r"\P{Nd}", r"\P{Nd}"),
    "w": (f"[{_WORD}]", _WORD), "W": (f"[^{_WORD}]", _NO_WORD),
    "s": (f"[{_SPACE}]", _SPACE), "S": (f"[^{_SPACE}]", _NO_SPACE),
}  # fmt: skip
_SAME = frozenset("bBAznrtfva")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|[xuU]\{([0-9A-Fa-f]+)\}|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})")
_PROPERTY = re.compile(r"[pP](?:\{\^?\w+\}|[A-Z])")
_GROUP = re.compile(
    r"\((?:\?P?<(?P<name>[A-Za-z_]\w*)>|(?P<look>\?<?[=!])|(?P<flags>\?[imsuxU-]*[:)]))?"
)
_BOUND = re.compile(r"\{\d+(?:,\d*)?\}")
_POSIX = re.compile(r"\[:\^?\w+:\]")
_REFERENCE = re.compile(r"\$(?:\$|\{([^}]*)\}|(\w+))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Regex:
    """A pattern in pieces: `pieces[i]` is text for RE2, or the number of the group opened there."""

    pieces: tuple[str | int, ...]
    names: dict[str, int]
    groups: int

    def pattern(self, kept: tuple[int, ...] = ()) -> str:
        """RE2's pattern, in which only the groups `kept` capture."""
        return "".join(
            p if isinstance(p, str) else "(" if p in kept else "(?:" for p in self.pieces
        )


def _escape(pattern: str, at: int, inside: bool) -> tuple[str, int]:
    """(RE2's spelling, the place behind) of the escape whose backslash is at `at`."""
    c = pattern[at + 1 : at + 2]
    if c in _CLASSES:
        return _CLASSES[c][inside], at + 2
    m = _HEX.match(pattern, at + 1)
    if m:
        return rf"\x{{{next(g for g in m.groups() if g)}}}", m.end()
    m = _PROPERTY.match(pattern, at + 1)
    if m:
        return rf"\{m[0]}", m.end()
    if c.isdigit():
        raise ValueError("back-references and octal escapes are not supported")
    if not c or (c.isalnum() and (c not in _SAME or (inside and c in "bBAz"))) or c in "<>":
        raise ValueError(rf"unknown escape \{c}")
    return rf"\{c}", at + 2


def _brackets(pattern: str, at: int, spaced: bool) -> tuple[str, int]:
    """(RE2's spelling, the place behind) of the class whose `[` is at `at`; `spaced`: blanks and
    comments in it mean nothing."""
    start = at
    out, at = "[", at + 1
    if pattern[at : at + 1] == "^":
        out, at = out + "^", at + 1
    first, ranged = True, False  # `ranged`: what comes cannot begin a range: it ended one
    while at < len(pattern):
        c = pattern[at]
        if spaced and (c.isspace() or c == "#"):
            at = _behind_blank(pattern, at)
            continue
        if c == "]" and not first:
            return out + "]", at + 1
        posix = _POSIX.match(pattern, at)
        if posix:
            out, at, ranged = out + posix[0], posix.end(), True
        elif c == "[" or pattern[at : at + 2] in ("&&", "--", "~~"):
            raise ValueError("classes inside classes are not supported")
        elif c == "\\":
            word, at = _escape(pattern, at, inside=True)
            out, ranged = out + word, len(word) > 2 and not word.startswith(r"\x")
        elif c == "-":
            literal = first or ranged or pattern[at + 1 : at + 2] == "]"
            out, at = out + (r"\-" if literal else "-"), at + 1
            if not literal:  # a range: take its end here
                end = pattern[at : at + 1]
                word, at = _escape(pattern, at, True) if end == "\\" else (end, at + 1)
                out, ranged = out + word, True
            first = False
            continue
        else:
            out, at, ranged = out + c, at + 1, False
        first = False
    raise ValueError(f"the class at {start + 1} has no end")


def _behind_blank(pattern: str, at: int) -> int:
    """The place behind the blank, or the comment to the end of its line, at `at`."""
    if pattern[at] != "#":
        return at + 1
    end = pattern.find("\n", at)
    return len(pattern) if end < 0 else end + 1


def _flags(written: str, spaced: bool) -> tuple[str, bool]:
    """(RE2's spelling, whether blanks mean nothing from there on) of `?im-s:` or `?im-s)`."""
    on, _, off = written[1:-1].partition("-")
    if "u" in off:
        raise ValueError("(?-u) is not supported: patterns are of characters, not of bytes")
    spaced = (spaced or "x" in on) and "x" not in off
    kept, dropped = (f.translate({ord("u"): None, ord("x"): None}) for f in (on, off))
    left = kept + (f"-{dropped}" if dropped else "")
    return (f"(?{left}{written[-1]}" if left or written[-1] == ":" else ""), spaced


@lru_cache(maxsize=1024)
def parsed(pattern: str) -> Regex:
    """The pattern, ready for RE2. Raises ValueError."""
    try:
        return _parsed(pattern)
    except ValueError as e:
        raise ValueError(f"invalid regular expression {pattern!r}: {e}") from None


def _parsed(pattern: str) -> Regex:
    pieces: list[str | int] = []
    names: dict[str, int] = {}
    groups, at = 0, 0
    #: of each group around this place: where in `pieces` it begins, whether it is spaced outside
    around: list[tuple[int, bool]] = []
    spaced = False  # (?x): blanks and comments mean nothing
    atom = 0  # where what a repetition repeats begins
    repeated = ""  # the repetition before this place
    while at < len(pattern):
        c = pattern[at]
        if spaced and (c.isspace() or c == "#"):
            at = _behind_blank(pattern, at)
            continue
        if c in "*+?{" and repeated:
            if c == "?" and repeated[-1:] != "?":  # makes it lazy
                repeated += "?"
            else:  # RE2 repeats no repetition, but a group of one
                pieces[atom:atom] = ["(?:"]
                pieces.append(")")
                repeated = "?!" if c == "?" else c
        elif c in "*+?{":
            repeated = "?!" if c == "?" else c
        else:
            repeated = ""
            atom = len(pieces)
            if c == ")" and around:
                atom, spaced = around.pop()
        if c == "\\":
            word, at = _escape(pattern, at, inside=False)
        elif c == "[":
            word, at = _brackets(pattern, at, spaced)
        elif c == "{":
            bound = _BOUND.match(pattern, at)
            if bound is None:
                raise ValueError("a '{' that begins no repetition; write \\{")
            word, at = bound[0], bound.end()
        elif c == "(":
            m = _GROUP.match(pattern, at)
            assert m is not None
            if m["look"]:
                raise ValueError("look-around is not supported")
            at = m.end()
            if not m[0].endswith(")"):
                around.append((len(pieces), spaced))
            if m["flags"]:
                word, spaced = _flags(m["flags"], spaced)
            elif pattern[at : at + 1] == "?":
                raise ValueError(f"unknown group ({pattern[at : at + 2]}")
            else:
                groups += 1
                if m["name"] in names:
                    raise ValueError(f"two groups are named {m['name']}")
                if m["name"]:
                    names[m["name"]] = groups
                pieces.append(groups)
                continue
        else:
            word, at = c, at + 1
        pieces.append(word)
    return Regex(tuple(pieces), names, groups)


def rewrite(regex: Regex, replacement: str) -> tuple[str, str]:
    """(RE2's pattern, RE2's replacement): only the groups referred to capture."""
    used: list[int] = []

    def group(m: re.Match[str]) -> int | None:
        name = m[1] if m[1] is not None else m[2]
        number = int(name) if name.isdigit() else regex.names.get(name)
        return number if number is not None and number <= regex.groups else None

    for m in _REFERENCE.finditer(replacement):
        number = None if m[0] == "$$" else group(m)
        if number and number not in used:
            used.append(number)
    if len(used) > 9:
        raise ValueError("a replacement can refer to nine groups at most")
    kept = tuple(sorted(used))

    def spell(m: re.Match[str]) -> str:
        if m[0] == "$$":
            return "$"
        number = group(m)
        if number is None:
            return ""
        return rf"\{kept.index(number) + 1}" if number else r"\0"

    return regex.pattern(kept), _around(replacement, spell)


def _around(replacement: str, spell: Callable[[re.Match[str]], str]) -> str:
    """Everything between references with its backslashes doubled."""
    out, at = "", 0
    for m in _REFERENCE.finditer(replacement):
        out += replacement[at : m.start()].replace("\\", r"\\") + spell(m)
        at = m.end()
    return out + replacement[at:].replace("\\", r"\\")
