"""The forms that have keywords inside their parentheses, and the stars of select lists.

    CASE … END            Case                 SUBSTRING(e FROM a)     FunctionCall
    CAST(e AS t)          Cast                 ARRAY[…] MAP[…] ROW(…)
    EXTRACT(u FROM e)     Extract              ARRAY(q) MAP(q) EXISTS(q)
    FLOOR(e TO u)         RoundTo              * EXCLUDE (a) REPLACE (e AS b)
    TRIM(BOTH c FROM e)   Trim

A word starts a form only with its `(` or `[` behind it: `floor`, `map` and `year` alone are
column names.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.sql import ast
from penstock.sql.lexer import QUOTED
from penstock.sql.parser.cursor import RESERVED, SyntaxFailure
from penstock.sql.parser.expressions import _PREDICATE, _QUERY_START
from penstock.sql.parser.windows import WindowParser


class FormParser(WindowParser):
    def _case(self, start: int) -> ast.Expr:
        self.advance()
        operand = None if self.key == "WHEN" else self.expression()
        branches: list[ast.When] = []
        while self.key == "WHEN":
            at = self.starts[self.i]
            self.advance()
            conditions = (self.expression(),) if operand is None else self.expressions()
            self.expect("THEN")
            result = self.expression()
            branches.append(ast.When(self.span_from(at), conditions, result))
        if not branches:
            raise self.failure("WHEN")
        otherwise = self.expression() if self.accept("ELSE") else None
        if self.key != "END":
            raise self.failure("END", *([] if otherwise else ["WHEN", "ELSE"]))
        self.advance()
        return ast.Case(self.span_from(start), operand, tuple(branches), otherwise)

    def _open(self) -> None:
        """Step over the form's word and its bracket."""
        self.advance()
        self.advance()

    def _cast_call(self, start: int) -> ast.Expr:
        safe = self.key == "SAFE_CAST"
        self._open()
        operand = self.expression()
        self.expect("AS")
        type_ = self.type()
        self.expect(")")
        return ast.Cast(self.span_from(start), operand, type_, safe)

    def _try_cast(self, start: int) -> ast.Expr:
        raise self.refuse("TRY_CAST is written SAFE_CAST(… AS type)")

    def _extract(self, start: int) -> ast.Expr:
        self._open()
        unit = self.unit()
        self.expect("FROM")
        operand = self.expression()
        self.expect(")")
        return ast.Extract(self.span_from(start), unit, operand)

    def _round(self, start: int) -> ast.Expr:
        """FLOOR and CEIL: of a number a call, with TO a form of its own."""
        function = "FLOOR" if self.key == "FLOOR" else "CEIL"
        name = self.any_identifier()
        self.advance()
        args = [self.expression()]
        if self.accept("TO"):
            unit = self.unit()
            self.expect(")")
            return ast.RoundTo(self.span_from(start), function, args[0], unit)
        while self.accept(","):
            args.append(self.expression())
        if self.key != ")":
            raise self.failure("TO", ",", ")")
        self.advance()
        return ast.FunctionCall(self.span_from(start), name, tuple(args))

    def _substring(self, start: int) -> ast.Expr:
        name = self.any_identifier()
        self.advance()
        args = [self.expression()]
        if self.accept("FROM"):
            args.append(self.expression())
            if self.accept("FOR"):
                args.append(self.expression())
        elif self.accept("FOR"):
            args += [ast.Literal(self.span_from(start), 1, "1"), self.expression()]
        else:
            while self.accept(","):
                args.append(self.expression())
        if self.key != ")":
            raise self.failure("FROM", ",", ")")
        self.advance()
        return ast.FunctionCall(self.span_from(start), name, tuple(args))

    def _position(self, start: int) -> ast.Expr:
        name = self.any_identifier()
        self.advance()
        needle = self.expression(_PREDICATE + 1)
        if self.key not in ("IN", ","):
            raise self.failure("IN")
        self.advance()
        haystack = self.expression()
        self.expect(")")
        return ast.FunctionCall(self.span_from(start), name, (needle, haystack))

    def _overlay(self, start: int) -> ast.Expr:
        name = self.any_identifier()
        self.advance()
        args = [self.expression()]
        for word in ("PLACING", "FROM", "FOR"):
            if self.key not in (word, ","):
                break
            self.advance()
            args.append(self.expression())
        if len(args) < 3:
            raise self.failure("PLACING" if len(args) == 1 else "FROM")
        self.expect(")")
        return ast.FunctionCall(self.span_from(start), name, tuple(args))

    def _trim(self, start: int) -> ast.Expr:
        self._open()
        side, chars = "BOTH", None
        sided = self.key in ("BOTH", "LEADING", "TRAILING") and self.next_key != ")"
        if sided:
            side = self.key
            self.advance()
        if self.accept("FROM"):
            operand = self.expression()
        else:
            operand = self.expression()
            if self.accept("FROM"):
                chars, operand = operand, self.expression()
            elif sided:
                raise self.failure("FROM")
        self.expect(")")
        return ast.Trim(self.span_from(start), side, chars, operand)

    def _exists(self, start: int) -> ast.Expr:
        self._open()
        query = self.query()
        self.expect(")")
        return ast.Exists(self.span_from(start), query)

    def _array(self, start: int) -> ast.Expr:
        close = "]" if self.next_key == "[" else ")"
        self._open()
        if close == ")" and self.key in _QUERY_START:
            query = self.query()
            self.expect(")")
            return ast.ArrayQuery(self.span_from(start), query)
        items = () if self.key == close else self.expressions()
        self.expect(close)
        return ast.ArrayConstructor(self.span_from(start), items)

    def _map(self, start: int) -> ast.Expr:
        self._open()
        items = () if self.key == "]" else self.expressions()
        self.expect("]")
        if len(items) % 2:
            raise self.refuse("MAP[…] takes pairs: a value for every key", start)
        entries = tuple(zip(items[::2], items[1::2], strict=True))
        return ast.MapConstructor(self.span_from(start), entries)

    def _map_query(self, start: int) -> ast.Expr:
        self._open()
        if self.key not in _QUERY_START:
            raise SyntaxFailure(
                self.here(),
                f"found {self.shown(self.i)}, expected a query (a map of values is written "
                "MAP[key, value, …])",
                told=True,
            )
        query = self.query()
        self.expect(")")
        return ast.MapQuery(self.span_from(start), query)

    def _row(self, start: int) -> ast.Expr:
        self._open()
        items = [self.star_or_expression()]
        while self.accept(","):
            items.append(self.star_or_expression())
        self.expect(")")
        return ast.RowConstructor(self.span_from(start), tuple(items))

    def _descriptor(self, start: int) -> ast.Expr:
        self.advance()
        return ast.Descriptor(self.span_from(start), self.identifiers())

    # -- stars

    def star_or_expression(self) -> ast.Expr:
        """`*`, `t.*` with EXCEPT and REPLACE, or an expression."""
        start = self.starts[self.i]
        qualifier: list[ast.Identifier] = []
        if self.key != "*":
            if not self._qualified_star_ahead():
                return self.expression()
            while self.key != "*":
                if not self.is_word:
                    raise self.failure("the name of a table")
                qualifier.append(self.any_identifier())
                self.expect(".")
        self.advance()
        exclude: tuple[ast.Identifier, ...] = ()
        replace: tuple[ast.SelectItem, ...] = ()
        if self.key in ("EXCEPT", "EXCLUDE") and self._names_ahead():
            self.advance()
            exclude = self.identifiers()
        elif self.key in ("EXCEPT", "EXCLUDE") and self._ends_behind_a_name():
            raise self.refuse(f"columns stand in parentheses: write {self.key} (…)")
        if self.key == "REPLACE" and self.next_key == "(":
            self.advance()
            replace = self._replacements()
        return ast.Star(self.span_from(start), tuple(qualifier), exclude, replace)

    def _qualified_star_ahead(self) -> bool:
        at = self.i
        while self.keys[at + 1 : at + 2] == ["."]:
            if self.keys[at + 2] == "*":
                return True
            at += 2
        return False

    def _names_ahead(self) -> bool:
        """`(` and a name behind EXCEPT: not the beginning of a set operation."""
        after = self.keys[self.i + 1 : self.i + 3]
        return after[:1] == ["("] and after[1] not in (*_QUERY_START, "(")

    def _ends_behind_a_name(self) -> bool:
        """Whether a name stands next, and with it the item of the list ends."""
        is_word = self.next_key == QUOTED or self.next_key[:1].isalpha()
        after = self.keys[self.i + 2 : self.i + 3]
        return is_word and self.next_key not in RESERVED and after in (["FROM"], [","], ["REPLACE"])

    def _replacements(self) -> tuple[ast.SelectItem, ...]:
        self.expect("(")
        items = [self._replacement()]
        while self.accept(","):
            items.append(self._replacement())
        self.expect(")")
        return tuple(items)

    def _replacement(self) -> ast.SelectItem:
        start = self.starts[self.i]
        expr = self.expression()
        self.expect("AS")
        name = self.identifier("a column name")
        return ast.SelectItem(self.span_from(start), expr, name)


FORMS: dict[tuple[str, str], Callable[[FormParser, int], ast.Expr]] = {
    ("CAST", "("): FormParser._cast_call,
    ("SAFE_CAST", "("): FormParser._cast_call,
    ("TRY_CAST", "("): FormParser._try_cast,
    ("EXTRACT", "("): FormParser._extract,
    ("FLOOR", "("): FormParser._round,
    ("CEIL", "("): FormParser._round,
    ("CEILING", "("): FormParser._round,
    ("SUBSTRING", "("): FormParser._substring,
    ("POSITION", "("): FormParser._position,
    ("OVERLAY", "("): FormParser._overlay,
    ("TRIM", "("): FormParser._trim,
    ("EXISTS", "("): FormParser._exists,
    ("ARRAY", "["): FormParser._array,
    ("ARRAY", "("): FormParser._array,
    ("MAP", "["): FormParser._map,
    ("MAP", "("): FormParser._map_query,
    ("ROW", "("): FormParser._row,
    ("DESCRIPTOR", "("): FormParser._descriptor,
    ("CASE", "("): FormParser._case,
}
