"""Expressions by binding power (Pratt): SQL reference 7.2, from tight to loose.

    110  .            field access
    100  ::           cast
     90  [ ]          index
     80  + -          unary
     70  * / % ||
     60  + -
     50  BETWEEN IN LIKE ILIKE RLIKE, period predicates
     40  < > = <= >= <> <=>
     30  IS …
     25  NOT
     20  AND
     10  OR

So `a || b + c` is `(a || b) + c` and `a = b IS NULL` is `(a = b) IS NULL`. All binary operators
associate to the left. A long chain nests to the left without recursion here; walking it is the
reader's recursion.

Not here: functions and forms with keywords inside (`calls`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import reduce

from penstock.errors import Span
from penstock.sql import ast
from penstock.sql.lexer import BINARY, NUMBER, STRING
from penstock.sql.parser.cursor import UNITS
from penstock.sql.parser.types import TypeParser

_UNARY, _PREDICATE, _COMPARISON, _IS, _NOT = 80, 50, 40, 30, 25

_BINARY = {
    **dict.fromkeys(("*", "/", "%", "||"), 70),
    **dict.fromkeys(("+", "-"), 60),
    **dict.fromkeys(("<", ">", "=", "<=", ">=", "<>", "<=>"), _COMPARISON),
    "AND": 20,
    "OR": 10,
}
_QUERY_START = frozenset(("SELECT", "WITH", "VALUES"))
_QUERY_CONTINUES = frozenset(
    ("UNION", "EXCEPT", "MINUS", "INTERSECT", "ORDER", "LIMIT", "OFFSET", "FETCH")
)
_PERIOD = frozenset(("OVERLAPS", "CONTAINS", "EQUALS", "PRECEDES", "SUCCEEDS", "IMMEDIATELY"))


class ExpressionParser(TypeParser):
    """Operators, literals, names and parentheses."""

    def query(self) -> ast.Query:
        """A whole query; the layer `queries` provides it."""
        raise NotImplementedError

    def query_after(self, left: ast.Query, start: int) -> ast.Query:
        """The rest of a query whose first branch was a parenthesised `left`."""
        raise NotImplementedError

    def name_or_call(self, start: int) -> ast.Expr:
        """A name, a function call or a form with keywords; the layer `calls` provides it."""
        raise NotImplementedError

    def expression(self, floor: int = 0) -> ast.Expr:
        """An expression whose operators all bind at least as tight as `floor`."""
        start = self.starts[self.i]
        prefix = _PREFIX.get(self.key)
        left = self.name_or_call(start) if prefix is None else prefix(self, start)
        while True:
            key = self.key
            power = _BINARY.get(key)
            if power is not None:
                if power < floor:
                    return left
                self.advance()
                if power == _COMPARISON and self._at_quantifier():
                    left = self._quantified(key, left, start)
                    continue
                right = self.expression(power + 1)
                left = ast.Binary(Span(start, self.ends[self.i - 1]), key, left, right)
                continue
            infix = _INFIX.get(key)
            if infix is None or infix[0] < floor:
                return left
            after = infix[1](self, left, start)
            if after is None:
                return left
            left = after

    def expressions(self) -> tuple[ast.Expr, ...]:
        """`e, e, …`, at least one."""
        items = [self.expression()]
        while self.accept(","):
            items.append(self.expression())
        return tuple(items)

    def parenthesised_expressions(self) -> tuple[ast.Expr, ...]:
        self.expect("(")
        items = self.expressions()
        self.expect(")")
        return items

    # -- prefixes

    def _number(self, start: int) -> ast.Expr:
        value = self.tokens.values[self.i]
        assert isinstance(value, int | float | Decimal)
        text = self.tokens.text[start : self.ends[self.i]]
        self.advance()
        return ast.Literal(self.span_from(start), value, text.upper())

    def _string(self, start: int) -> ast.Expr:
        value = self.tokens.values[self.i]
        assert isinstance(value, str)
        self.advance()
        return ast.Literal(self.span_from(start), value, "'" + value.replace("'", "''") + "'")

    def _binary_literal(self, start: int) -> ast.Expr:
        value = self.tokens.values[self.i]
        assert isinstance(value, bytes)
        self.advance()
        return ast.Literal(self.span_from(start), value, f"X'{value.hex().upper()}'")

    def _true(self, start: int) -> ast.Expr:
        self.advance()
        return ast.Literal(self.span_from(start), True, "TRUE")

    def _false(self, start: int) -> ast.Expr:
        self.advance()
        return ast.Literal(self.span_from(start), False, "FALSE")

    def _null(self, start: int) -> ast.Expr:
        self.advance()
        return ast.Literal(self.span_from(start), None, "NULL")

    def _sign(self, start: int) -> ast.Expr:
        op = self.key
        self.advance()
        operand = self.expression(_UNARY)
        return ast.Unary(self.span_from(start), op, operand)

    def _not(self, start: int) -> ast.Expr:
        self.advance()
        operand = self.expression(_NOT)
        return ast.Unary(self.span_from(start), "NOT", operand)

    def _parenthesis(self, start: int) -> ast.Expr:
        """`(e)`, `(a, b)`, `(SELECT …)` or `(a - b) DAYS`."""
        self.advance()
        inside = self.starts[self.i]
        if self.key in _QUERY_START:
            query = self.query()
            self.expect(")")
            return ast.ScalarSubquery(self.span_from(start), query)
        first = self.expression()
        if isinstance(first, ast.ScalarSubquery) and self.key in _QUERY_CONTINUES:
            query = self.query_after(first.query, inside)
            self.expect(")")
            return ast.ScalarSubquery(self.span_from(start), query)
        if self.key == ",":
            items = [first]
            while self.accept(","):
                items.append(self.expression())
            self.expect(")")
            return ast.RowConstructor(self.span_from(start), tuple(items), explicit=False)
        if self.key != ")":
            raise self.failure(")", ",", "an operator")
        self.advance()
        if isinstance(first, ast.Binary) and first.op == "-" and self.key in UNITS:
            return self._difference(first, start)
        return first

    def _difference(self, minus: ast.Binary, start: int) -> ast.Expr:
        qualifier = self.qualifier()
        return ast.IntervalDifference(self.span_from(start), minus.left, minus.right, qualifier)

    def _interval(self, start: int) -> ast.Expr:
        self.advance()
        negative = self.key == "-"
        if negative or self.key == "+":
            self.advance()
        quoted = self.key == STRING
        if quoted:
            value = self.tokens.values[self.i]
            assert isinstance(value, str)
            text = value
        elif self.key == NUMBER:
            text = self.tokens.text[self.starts[self.i] : self.ends[self.i]]
        else:
            raise self.failure("a string or number", "a sign")
        self.advance()
        inside = re.fullmatch(r"\s*([+-]?\d+)\s+(\w+)\s*", text) if quoted else None
        if inside and inside[2].upper() in UNITS and self.key not in UNITS:
            unit = UNITS[inside[2].upper()]
            raise self.refuse(
                f"the unit stands outside the quotes: INTERVAL '{inside[1]}' {unit}", start
            )
        if quoted and self.key not in UNITS and re.search(r"\d\s*[A-Za-z]", text):
            raise self.refuse(
                "the units of an interval stand outside the quotes: INTERVAL '1 2' DAY TO HOUR",
                start,
            )
        qualifier = self.qualifier()
        if quoted:
            self._check_leading_digits(text, qualifier, start)
        return ast.IntervalLiteral(self.span_from(start), text, qualifier, negative)

    def _check_leading_digits(self, text: str, qualifier: ast.Qualifier, start: int) -> None:
        """INTERVAL '100' HOUR has more digits than its unit may: 2, or n as in HOUR(n)."""
        digits = re.match(r"\s*[+-]?\s*0*(\d+)", text)
        allowed = 2 if qualifier.precision is None else qualifier.precision
        if digits and len(digits[1]) > allowed:
            unit = qualifier.unit
            raise self.refuse(
                f"{digits[1]} has more than {allowed} digits: write {unit}({len(digits[1])})", start
            )

    # -- infixes

    def _is(self, left: ast.Expr, start: int) -> ast.Expr:
        self.advance()
        negated = self.accept("NOT")
        if self.accept_words("DISTINCT", "FROM"):
            right = self.expression(_IS + 1)
            return ast.IsDistinct(self.span_from(start), left, right, negated)
        what = self.key
        if what not in ("NULL", "TRUE", "FALSE", "UNKNOWN"):
            raise self.failure("NULL", "TRUE", "FALSE", "UNKNOWN", "DISTINCT FROM")
        self.advance()
        return ast.IsTest(self.span_from(start), left, what, negated)

    def _negated(self, left: ast.Expr, start: int) -> ast.Expr | None:
        """`NOT` before IN, BETWEEN or LIKE; any other NOT is not an infix."""
        infix = _NEGATABLE.get(self.next_key)
        if infix is None:
            return None
        self.advance()
        return infix(self, left, start, True)

    def _between(self, left: ast.Expr, start: int, negated: bool = False) -> ast.Expr:
        self.advance()
        symmetric = self.accept("SYMMETRIC")
        if not symmetric and self.key == "ASYMMETRIC":
            self.advance()
        low = self.expression(_PREDICATE + 1)
        self.expect("AND")
        high = self.expression(_PREDICATE + 1)
        return ast.Between(self.span_from(start), left, low, high, symmetric, negated)

    def _in(self, left: ast.Expr, start: int, negated: bool = False) -> ast.Expr:
        self.advance()
        query, items = self._query_or_list()
        if query is not None:
            return ast.InQuery(self.span_from(start), left, query, negated)
        return ast.InList(self.span_from(start), left, items, negated)

    def _query_or_list(self) -> tuple[ast.Query | None, tuple[ast.Expr, ...]]:
        """`(query)`, in more parentheses perhaps, or `(e, …)`."""
        self.expect("(")
        inside = self.starts[self.i]
        query: ast.Query | None = None
        items: tuple[ast.Expr, ...] = ()
        if self.key in _QUERY_START:
            query = self.query()
        else:
            items = self.expressions()
            first = items[0]
            if isinstance(first, ast.ScalarSubquery) and len(items) == 1:  # a query in parentheses
                continues = self.key in _QUERY_CONTINUES
                query = self.query_after(first.query, inside) if continues else first.query
        self.expect(")")
        return query, items

    def _like(self, left: ast.Expr, start: int, negated: bool = False) -> ast.Expr:
        kind = self.key
        self.advance()
        if self._at_quantifier():
            return self._like_some(kind, left, start, negated)
        pattern = self.expression(_PREDICATE + 1)
        escape = self.expression(_PREDICATE + 1) if self.accept("ESCAPE") else None
        return ast.Like(self.span_from(start), kind, left, pattern, escape, negated)

    def _like_some(self, kind: str, left: ast.Expr, start: int, negated: bool) -> ast.Expr:
        """`a LIKE ANY (p, q)` is `a LIKE p OR a LIKE q`; ALL: AND. One pattern may be an array."""
        quantifier = "ALL" if self.key == "ALL" else "ANY"
        self.advance()
        query, patterns = self._query_or_list()
        if query is not None:
            raise self.refuse(f"{kind} takes a list of patterns here, not a query")
        span = self.span_from(start)
        if len(patterns) == 1:
            op = f"NOT {kind}" if negated else kind
            return ast.Quantified(span, op, left, quantifier, None, patterns)
        op = "AND" if quantifier == "ALL" else "OR"
        tests: list[ast.Expr] = [ast.Like(span, kind, left, p, None, negated) for p in patterns]
        return reduce(lambda a, b: ast.Binary(span, op, a, b), tests)

    def _similar(self, left: ast.Expr, start: int, negated: bool = False) -> ast.Expr | None:
        if self.next_key != "TO":
            return None
        raise self.refuse("SIMILAR TO is not supported: use LIKE, or RLIKE with a pattern")

    def _period(self, left: ast.Expr, start: int) -> ast.Expr | None:
        """A period predicate, whose left side is a pair; else the word is only a name."""
        if not isinstance(left, ast.RowConstructor):
            return None
        op = self.key
        self.advance()
        if op == "IMMEDIATELY":
            if self.key not in ("PRECEDES", "SUCCEEDS"):
                raise self.failure("PRECEDES", "SUCCEEDS")
            op = f"{op} {self.key}"
            self.advance()
        right = self.expression(_PREDICATE + 1)
        return ast.Binary(self.span_from(start), op, left, right)

    def _cast(self, left: ast.Expr, start: int) -> ast.Expr:
        self.advance()
        type_ = self.type()
        return ast.Cast(self.span_from(start), left, type_)

    def _index(self, left: ast.Expr, start: int) -> ast.Expr:
        self.advance()
        index = self.expression()
        self.expect("]")
        return ast.Index(self.span_from(start), left, index)

    def _field(self, left: ast.Expr, start: int) -> ast.Expr:
        self.advance()
        if not self.is_word:
            raise self.failure("a field name")
        name = self.any_identifier()
        return ast.FieldAccess(self.span_from(start), left, name)

    def _at_quantifier(self) -> bool:
        return self.key in ("ANY", "SOME", "ALL") and self.next_key == "("

    def _quantified(self, op: str, left: ast.Expr, start: int) -> ast.Expr:
        quantifier = "ALL" if self.key == "ALL" else "ANY"
        self.advance()
        query, items = self._query_or_list()
        return ast.Quantified(
            self.span_from(start), op, left, quantifier, query, () if query else items
        )


_Prefix = Callable[[ExpressionParser, int], ast.Expr]
_Infix = Callable[[ExpressionParser, ast.Expr, int], "ast.Expr | None"]

_PREFIX: dict[str, _Prefix] = {
    NUMBER: ExpressionParser._number,
    STRING: ExpressionParser._string,
    BINARY: ExpressionParser._binary_literal,
    "TRUE": ExpressionParser._true,
    "FALSE": ExpressionParser._false,
    "NULL": ExpressionParser._null,
    "-": ExpressionParser._sign,
    "+": ExpressionParser._sign,
    "NOT": ExpressionParser._not,
    "(": ExpressionParser._parenthesis,
    "INTERVAL": ExpressionParser._interval,
}

_NEGATABLE: dict[str, Callable[[ExpressionParser, ast.Expr, int, bool], ast.Expr | None]] = {
    "IN": ExpressionParser._in,
    "BETWEEN": ExpressionParser._between,
    "LIKE": ExpressionParser._like,
    "ILIKE": ExpressionParser._like,
    "RLIKE": ExpressionParser._like,
    "SIMILAR": ExpressionParser._similar,
}

_INFIX: dict[str, tuple[int, _Infix]] = {
    ".": (110, ExpressionParser._field),
    "::": (100, ExpressionParser._cast),
    "[": (90, ExpressionParser._index),
    "BETWEEN": (_PREDICATE, ExpressionParser._between),
    "IN": (_PREDICATE, ExpressionParser._in),
    "LIKE": (_PREDICATE, ExpressionParser._like),
    "ILIKE": (_PREDICATE, ExpressionParser._like),
    "RLIKE": (_PREDICATE, ExpressionParser._like),
    "SIMILAR": (_PREDICATE, ExpressionParser._similar),
    "NOT": (_PREDICATE, ExpressionParser._negated),
    **dict.fromkeys(_PERIOD, (_PREDICATE, ExpressionParser._period)),
    "IS": (_IS, ExpressionParser._is),
}
