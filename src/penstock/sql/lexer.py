"""Cut program text into tokens, by one compiled regular expression.

    SELECT "Id", 'it''s' FROM t -- all
       │     │      │      │  └ word     key "T"         value "t"
       │     │      │      └─── word     key "FROM"      value "from"
       │     │      └────────── string   key "<string>"  value "it's"
       │     └───────────────── quoted   key "<quoted>"  value "Id"
       └─────────────────────── word     key "SELECT"    value "select"

A token's `key` is what the parser dispatches on: the upper-case word, the operator, or its class
in angle brackets. Whether a word is a keyword is the parser's question. Comments vanish; a hint
is kept beside the tokens, at the index of the token that follows it.

String literals with a line break between them are one literal (SQL reference 7.1). Errors are
collected in `Tokens.errors`, and lexing goes on behind them.

Cost: O(length), about 1 µs a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from penstock.errors import Span

STRING = "<string>"
BINARY = "<binary>"
QUOTED = "<quoted>"
NUMBER = "<number>"
END = "<end>"

TokenValue = str | int | float | bytes | Decimal | None

#: more digits than any type holds; also keeps int() linear
_MAX_DIGITS = 400

_TOKEN = re.compile(
    r"""[ \t\r\n\f\v\u00a0\ufeff]*(?:
      (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w$]))
    | (?P<binary>[xX]'[^']*')
    | (?P<unicode>[uU]&(?:'(?:[^']|'')*'|"(?:[^"]|"")*")
                  (?:\s*[uU][eE][sS][cC][aA][pP][eE]\s*'[^']*')?)
    | (?P<escaped>[eE]'(?:[^'\\]|''|\\[\s\S])*')
    | (?P<national>(?:[nN]|_\w+)'(?:[^']|'')*')
    | (?P<word>[\w$]+)
    | (?P<comment>--[^\n]*|//[^\n]*|/\*(?!\+)(?:[^*]|\*(?!/))*\*/)
    | (?P<hint>/\*\+(?:[^*]|\*(?!/))*\*/)
    | (?P<op><=>|<>|!=|<=|>=|=>|->|\|\||::|/(?!\*)|[-+*%<>=(),.;\[\]])
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<end>\Z)
    | (?P<wrong>(?s:.))
    )""",
    re.VERBOSE,
)


@dataclass(slots=True)
class Tokens:
    """Parallel lists, one entry a token; the last token is END."""

    text: str
    keys: list[str] = field(default_factory=list)
    values: list[TokenValue] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    #: index of the token behind a hint -> what the hint says
    hints: dict[int, str] = field(default_factory=dict)
    errors: list[tuple[Span, str]] = field(default_factory=list)
    #: whether a quote or a comment has no end, so that quotes before it may pair up wrongly
    is_unclosed: bool = False

    def add(self, key: str, value: TokenValue, start: int, end: int) -> None:
        self.keys.append(key)
        self.values.append(value)
        self.starts.append(start)
        self.ends.append(end)


def tokenize(text: str) -> Tokens:
    """All tokens of `text`. Never raises: see `Tokens.errors`."""
    out = Tokens(text)
    _check_encodable(out)
    match = _TOKEN.match
    keys, values, starts, ends = out.keys, out.values, out.starts, out.ends
    at = 0
    while True:
        m = match(text, at)
        assert m is not None, "the last two alternatives match anything"
        kind = m.lastgroup
        at = m.end()
        if kind == "word":
            word = m["word"]
            keys.append(word.upper())
            values.append(word.lower())
            starts.append(at - len(word))
            ends.append(at)
        elif kind == "op":
            op = m["op"]
            keys.append("<>" if op == "!=" else op)
            values.append(op)
            starts.append(at - len(op))
            ends.append(at)
        elif kind == "end":
            # the end is reported behind the last token, not behind trailing blanks
            last = ends[-1] if ends else 0
            out.add(END, None, last, last)
            return out
        elif kind == "wrong":
            at = _wrong(out, m.start("wrong"))
        elif kind != "comment":
            assert kind is not None
            _SPECIAL[kind](out, m[kind], m.start(kind), at)


def _number(out: Tokens, raw: str, start: int, end: int) -> None:
    value: TokenValue
    if len(raw) > _MAX_DIGITS:
        out.errors.append((Span(start, end), "the number has too many digits"))
        value = 0
    elif raw.isdigit():
        value = int(raw)
    elif "e" in raw or "E" in raw:
        value = float(raw)
        if value in (float("inf"), float("-inf")):
            out.errors.append((Span(start, end), f"{raw} is out of the range of DOUBLE"))
    else:
        value = Decimal(raw)
    out.add(NUMBER, value, start, end)


def _string(out: Tokens, raw: str, start: int, end: int) -> None:
    value = raw[1:-1].replace("''", "'")
    _add_string(out, value, start, end)


def _national(out: Tokens, raw: str, start: int, end: int) -> None:
    """N'text' and _utf8'text': all text is Unicode here, whatever its prefix says."""
    _string(out, raw[raw.index("'") :], start, end)


_ESCAPE = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{1,2})|([0-7]{1,3})|([\s\S]))|''"
)
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _escaped(out: Tokens, raw: str, start: int, end: int) -> None:
    """E'text' with the escapes of C; a backslash before another character is that character."""

    def one(m: re.Match[str]) -> str:
        if m[0] == "''":
            return "'"
        if m[5]:
            return _LETTERS.get(m[5], m[5])
        code = int(m[4], 8) if m[4] else int(m[1] or m[2] or m[3], 16)
        if code < 0xD800 or 0xDFFF < code <= 0x10FFFF:
            return chr(code)
        out.errors.append((Span(start, end), f"{m[0]} is not a character"))
        return ""

    _add_string(out, _ESCAPE.sub(one, raw[2:-1]), start, end)


def _add_string(out: Tokens, value: str, start: int, end: int) -> None:
    previous = out.keys[-1] if out.keys else END
    if previous == BINARY:
        more = _unhex(out, value, Span(start, end))
        before = out.values[-1]
        assert isinstance(before, bytes)
        out.values[-1] = before + more
        out.ends[-1] = end
    elif previous == STRING:
        if "\n" not in out.text[out.ends[-1] : start]:
            out.errors.append(
                (
                    Span(start, end),
                    "found a string literal behind a string literal: they are concatenated only "
                    "when they are on separate lines (use || otherwise)",
                )
            )
        before = out.values[-1]
        assert isinstance(before, str)
        out.values[-1] = before + value
        out.ends[-1] = end
    else:
        out.add(STRING, value, start, end)


def _binary(out: Tokens, raw: str, start: int, end: int) -> None:
    out.add(BINARY, _unhex(out, raw[2:-1], Span(start, end)), start, end)


def _unhex(out: Tokens, digits: str, span: Span) -> bytes:
    try:
        if digits.isascii() and not any(c.isspace() for c in digits):
            return bytes.fromhex(digits)
    except ValueError:
        pass
    out.errors.append((span, "a binary literal takes an even number of hexadecimal digits"))
    return b""


def _quoted(out: Tokens, raw: str, start: int, end: int) -> None:
    if raw == '""':
        out.errors.append((Span(start, end), "a quoted name must not be empty"))
    out.add(QUOTED, raw[1:-1].replace('""', '"'), start, end)


def _unicode(out: Tokens, raw: str, start: int, end: int) -> None:
    quote = raw[2]
    escape = "\\"
    body, tail = raw[3:-1], ""
    close = _closing_quote(raw, 3, quote)
    if close != len(raw) - 1:
        body, tail = raw[3:close], raw[close + 1 :]
    if tail:
        escape = tail[tail.index("'") + 1 : -1]
        if len(escape) != 1 or escape in "+'\" \t\n" or escape in "0123456789abcdefABCDEF":
            out.errors.append((Span(start, end), "UESCAPE takes one character that is not a "
                               "hexadecimal digit, '+', a quote or a blank"))  # fmt: skip
            escape = "\\"
    value = _unescape(out, body.replace(quote * 2, quote), escape, Span(start, end))
    if quote == "'":
        _add_string(out, value, start, end)
    else:
        out.add(QUOTED, value, start, end)


def _closing_quote(raw: str, at: int, quote: str) -> int:
    while True:
        at = raw.index(quote, at)
        if raw[at : at + 2] != quote * 2:
            return at
        at += 2


def _unescape(out: Tokens, body: str, escape: str, span: Span) -> str:
    e = re.escape(escape)
    pieces = re.compile(f"{e}({e}|[0-9a-fA-F]{{4}}|\\+[0-9a-fA-F]{{6}}|)")

    def one(m: re.Match[str]) -> str:
        code = m[1]
        if code == escape:
            return escape
        number = int(code.lstrip("+"), 16) if code else -1
        if 0 <= number < 0xD800 or 0xDFFF < number <= 0x10FFFF:
            return chr(number)
        out.errors.append((span, f"{m[0]!r} is not a character: write {escape}XXXX with four "
                           f"hexadecimal digits"))  # fmt: skip
        return ""

    return pieces.sub(one, body)


def _hint(out: Tokens, raw: str, start: int, end: int) -> None:
    out.hints[len(out.keys)] = raw[3:-2].strip()


#: what means something in other dialects → how it is written here
_ELSEWHERE = {
    "`": '; names are quoted with "',
    ":": "; a field of a VARIANT: write v.name or v['name']",
    "~": "; a regular expression: write … RLIKE …",
    "?": "; a program has no parameters",
    "^": "; a power: write POWER(…, …)",
    "{": "; a map: write MAP[key, value, …]",
    "{{": "; a template is filled in before, as `dbt compile` does",
    "&&": "; both of two conditions: write … AND …",
    "&": "; bits: BIT_AND is there as an aggregate only",
    "|": "; bits: BIT_OR is there as an aggregate only",
    "!": "; write NOT …",
    "@": "; a program has no parameters",
    "#": "; a comment is written -- …",
}


def _wrong(out: Tokens, at: int) -> int:
    """Report what cannot be a token at `at` and say where to go on."""
    text = out.text
    line_end = text.find("\n", at)
    span = Span(at, len(text) if line_end < 0 else line_end)
    for opening, what in (("'", "string literal"), ('"', "quoted name"), ("/*", "comment")):
        if text.startswith(opening, at):
            out.errors.append((span, f"the {what} is not closed"))
            out.is_unclosed = True
            return len(text)
    pair = text[at : at + 2]
    found = pair if pair in _ELSEWHERE else text[at]
    hint = _ELSEWHERE.get(found, "")
    out.errors.append((Span(at, at + len(found)), f"unexpected character {found!r}{hint}"))
    return at + len(found)


def _check_encodable(out: Tokens) -> None:
    try:
        out.text.encode()
    except UnicodeEncodeError as e:
        out.errors.append((Span(e.start, e.end), "the text holds half a surrogate pair"))


_SPECIAL: dict[str, Callable[[Tokens, str, int, int], None]] = {
    "number": _number,
    "string": _string,
    "binary": _binary,
    "quoted": _quoted,
    "unicode": _unicode,
    "escaped": _escaped,
    "national": _national,
    "hint": _hint,
}
