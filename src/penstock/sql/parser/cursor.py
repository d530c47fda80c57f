"""The token at hand: look, accept, refuse; and the words that cannot be names.

Invariant: `key == keys[i]`, and `i` never passes END.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from penstock.errors import Span
from penstock.sql import ast
from penstock.sql.diagnostics import did_you_mean
from penstock.sql.lexer import END, NUMBER, QUOTED, Tokens
from penstock.sql.parser.elsewhere import written_elsewhere

T = TypeVar("T")


def words(text: str) -> tuple[str, ...]:
    """The words of `text`, for tables of keywords."""
    return tuple(text.split())


#: Words that are never names unless quoted (SQL reference 7.3, "choose").
RESERVED = frozenset(
    words(
        """ALL AND ANY AS ASOF BETWEEN BY CASE CAST CREATE CROSS CUBE DECLARE DEFAULT DISTINCT ELSE
        END ESCAPE EXCEPT EXISTS FALSE FETCH FILTER FOR FOREIGN FROM FULL FUNCTION GROUP GROUPING
        HAVING IN INNER INTERSECT INTERVAL INTO IS JOIN LATERAL LEFT LIKE LIMIT LOCAL
        MATCH_CONDITION MINUS NATURAL NOT NOW NULL OFFSET ON OR ORDER OUTER OVER PARTITION PRIMARY
        QUALIFY RECURSIVE REFERENCES RETURNS RIGHT ROLLUP ROW ROWS SELECT SET SOME TABLE THEN TRUE
        UNION UNNEST USER USING VALUES WHEN WHERE WINDOW WITH WITHIN"""
    )
)

#: units of other dialects → what they are called here
_UNITS_ELSEWHERE = {
    **dict.fromkeys(("DAYOFWEEK", "WEEKDAY"), "DOW"), "DAYOFWEEKISO": "ISODOW",
    "DAYOFYEAR": "DOY", "YEARDAY": "DOY", "DAYOFMONTH": "DAY", "YEAROFWEEK": "ISOYEAR",
    **dict.fromkeys(("ISOWEEK", "WEEKOFYEAR", "WEEKISO"), "WEEK"), "EPOCH_SECOND": "EPOCH",
}  # fmt: skip
#: those of them that no function or type may be called, quoted or not
_BUILT_IN = frozenset(words("CAST EXISTS GROUPING LEFT NOW RIGHT ROW SOME"))
_CALLED = ("a function name", "a type name")
_RELATIONS = ("a table name", "a view name")

#: Singular, upper-case name of every spelling of a time unit.
UNITS = {
    **{
        spelling: unit
        for unit in words(
            """YEAR QUARTER MONTH WEEK DAY HOUR MINUTE SECOND MILLISECOND MICROSECOND NANOSECOND
            DECADE"""
        )
        for spelling in (unit, unit + "S", "SQL_TSI_" + unit)
    },
    **{unit: unit for unit in words("MILLENNIUM CENTURY DOY DOW ISODOW ISOYEAR EPOCH")},
}


class SyntaxFailure(Exception):
    """Ends the parse of one statement. Never leaves the parser."""

    def __init__(self, span: Span, what: str, told: bool = False) -> None:
        super().__init__(what)
        self.span = span
        self.what = what
        #: it is known what is meant, and the message says it
        self.told = told


class Cursor:
    """A position in a list of tokens."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.keys = tokens.keys
        self.starts = tokens.starts
        self.ends = tokens.ends
        self.i = 0
        self.key = self.keys[0]

    # -- moving

    def advance(self) -> None:
        self.i += 1
        self.key = self.keys[self.i]

    def accept(self, key: str) -> bool:
        if self.key != key:
            return False
        self.i += 1
        self.key = self.keys[self.i]
        return True

    def accept_words(self, *keys: str) -> bool:
        """All of `keys` in a row, or none."""
        if not self.ahead(*keys):
            return False
        self.i += len(keys)
        self.key = self.keys[self.i]
        return True

    def ahead(self, *keys: str) -> bool:
        return self.keys[self.i : self.i + len(keys)] == list(keys)

    def expect(self, key: str) -> None:
        if self.key != key:
            raise self.failure(key)
        self.i += 1
        self.key = self.keys[self.i]

    def expect_words(self, *keys: str) -> None:
        for key in keys:
            self.expect(key)

    @property
    def next_key(self) -> str:
        return self.keys[self.i + 1] if self.key != END else END

    def skip_to(self, key: str) -> None:
        while self.key not in (key, END):
            self.advance()

    def span_from(self, start: int) -> Span:
        """From character offset `start` to the end of the last token taken."""
        return Span(start, self.ends[self.i - 1])

    def here(self) -> Span:
        return Span(self.starts[self.i], self.ends[self.i])

    # -- refusing

    def shown(self, index: int) -> str:
        if self.keys[index] == END:
            return "end of input"
        text = self.tokens.text[self.starts[index] : self.ends[index]]
        return repr(text) if len(text) <= 40 else repr(text[:40] + "…")

    def failure(self, *expected: str) -> SyntaxFailure:
        """`found …, expected …` about the token at hand."""
        told = self._pasted()
        if told is not None:
            return told
        words = [e for e in expected if e[:1].isupper()]
        hint = did_you_mean(self.key, words) if self.key[0].isalpha() else ""
        reserved = self._reserved(expected)
        shown = [e if e[:1].isalpha() else repr(e) for e in expected]
        listed = ", ".join(shown[:-1]) + " or " + shown[-1] if len(shown) > 1 else shown[0]
        return SyntaxFailure(
            self.here(), f"found {self.shown(self.i)}, expected {listed}{hint}{reserved}"
        )

    def _reserved(self, expected: tuple[str, ...]) -> str:
        """Why a reserved word is no name where one of `expected` could be."""
        if self.key not in RESERVED or not any("name" in e for e in expected):
            return ""
        if self.key == "NOW" and expected[0] in (*_RELATIONS, *_CALLED):
            return " (NOW() reads the clock; choose another name)"
        if self.key in _BUILT_IN and expected[0] in _CALLED:
            return f" ({self.key} is a built-in function)"
        return f' ({self.key} is a reserved word: write "{self.key.lower()}" to use it as a name)'

    def _pasted(self) -> SyntaxFailure | None:
        what = written_elsewhere(self.keys, self.i)
        if not what:
            return None
        return SyntaxFailure(self.here(), f"found {self.shown(self.i)}: {what}", told=True)

    def refuse(self, what: str, start: int | None = None) -> SyntaxFailure:
        """A failure in words, about the token at hand or from `start` on."""
        return SyntaxFailure(self.here() if start is None else self.span_from(start), what)

    def unfinished(self) -> SyntaxFailure:
        """Something follows where the statement should end."""
        told = self._pasted()
        if told is not None:
            return told
        if self.key == ")":
            return self.refuse("found ')' without a '(' before it")
        return self.refuse(f"found {self.shown(self.i)}, expected ';' or the end")

    def guarded(self, parse: Callable[[], T]) -> T:
        """Run `parse`; nesting beyond Python's stack is an error of the program."""
        try:
            return parse()
        except RecursionError:
            raise self.refuse("the statement is nested too deeply here") from None

    # -- names

    @property
    def is_word(self) -> bool:
        """Any word or quoted name, reserved or not."""
        key = self.key
        return key == QUOTED or key[0].isalnum() or key[0] in "_$"

    @property
    def is_name(self) -> bool:
        return self.key not in RESERVED and self.is_word

    def identifier(self, what: str = "a name") -> ast.Identifier:
        if not self.is_name:
            raise self.failure(what)
        return self.any_identifier()

    def any_identifier(self) -> ast.Identifier:
        """The token at hand as a name, reserved or not."""
        i = self.i
        value = self.tokens.values[i]
        assert isinstance(value, str)
        quoted = self.key == QUOTED
        self.advance()
        return ast.Identifier(Span(self.starts[i], self.ends[i]), value, quoted)

    def identifiers(self, what: str = "a column name") -> tuple[ast.Identifier, ...]:
        """`(a, b, …)`, at least one."""
        self.expect("(")
        names = [self.identifier(what)]
        while self.accept(","):
            names.append(self.identifier(what))
        self.expect(")")
        return tuple(names)

    def alias(self, *, implicit: bool = True) -> ast.Identifier | None:
        """`[AS] name`."""
        if self.accept("AS"):
            return self.identifier("a name for it")
        if implicit and self.is_name:
            return self.any_identifier()
        return None

    def integer(self, what: str = "a number") -> int:
        value = self.tokens.values[self.i]
        if self.key != NUMBER or not isinstance(value, int):
            raise self.failure(what)
        self.advance()
        return value

    def unit(self) -> str:
        """A time unit, singular and upper case."""
        unit = UNITS.get(self.key)
        if unit is None:
            hint = did_you_mean(self.key, UNITS) if self.key[0].isalpha() else ""
            if self.key in _UNITS_ELSEWHERE:
                hint = f": write EXTRACT({_UNITS_ELSEWHERE[self.key]} FROM …)"
            raise self.refuse(f"found {self.shown(self.i)}, expected a time unit such as DAY{hint}")
        self.advance()
        return unit
