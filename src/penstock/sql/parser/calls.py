"""Names, function calls, and the forms that have keywords inside their parentheses.

    price                 ColumnRef            CAST(e AS t)            Cast
    t.r.f                 ColumnRef            EXTRACT(u FROM e)       Extract
    f(DISTINCT a) FILTER  FunctionCall         FLOOR(e TO u)           RoundTo
    DATE '2020-01-01'     TypedLiteral         TRIM(BOTH c FROM e)     Trim
    ARRAY[…] MAP[…] ROW(…)                     SUBSTRING(e FROM a)     FunctionCall

A word starts a form only with its `(` or `[` behind it: `floor`, `map` and `year` alone are
column names.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.sql import ast
from penstock.sql.lexer import STRING
from penstock.sql.parser.cursor import RESERVED, words
from penstock.sql.parser.expressions import _PREDICATE, _QUERY_START, ExpressionParser

#: reserved words that are also functions, with `(` behind them
_RESERVED_FUNCTIONS = frozenset(("LEFT", "RIGHT", "GROUPING", "SOME", "NOW", "USER"))

#: types that may introduce a literal: `DATE '2020-01-01'`
_LITERAL_TYPES = frozenset(
    words(
        """DATE TIME TIMESTAMP DATETIME UUID REAL FLOAT4 FLOAT32 DOUBLE FLOAT8 FLOAT64 DECIMAL DEC
        NUMERIC NUMBER TINYINT SMALLINT INT2 INTEGER INT INT4 SIGNED BIGINT INT8 INT64 UNSIGNED
        BOOLEAN BOOL VARIANT VARCHAR CHAR STRING TEXT"""
    )
)


class CallParser(ExpressionParser):
    def name_or_call(self, start: int) -> ast.Expr:
        following = self.next_key
        if following == "(" or following == "[":
            form = _FORMS.get((self.key, following))
            if form is not None:
                return form(self, start)
        elif self.key == "CASE":
            return self._case(start)
        elif following in (STRING, "WITH", "WITHOUT", "PRECISION"):
            literal = self._typed_literal(start)
            if literal is not None:
                return literal
        if following == "(" and (self.is_name or self.key in _RESERVED_FUNCTIONS):
            return self._call(start)
        if not self.is_name:
            raise self._not_an_expression()
        return self._name(start)

    def _not_an_expression(self) -> Exception:
        if self.key in _RESERVED_FUNCTIONS:
            return self.refuse(f"{self.key} is a function here: write {self.key}(…)")
        if self.key == "*":
            return self.refuse("'*' is allowed only as a select item, in COUNT(*) and in ROW(t.*)")
        if self.key in _QUERY_START:
            return self.refuse(
                f"found {self.shown(self.i)}, expected an expression: a query inside an "
                f"expression is written in parentheses"
            )
        if self.key in RESERVED:
            word = self.key.lower()
            return self.refuse(
                f"found {self.shown(self.i)}, expected an expression ({self.key} is a reserved "
                f'word: write "{word}" to use it as a name)'
            )
        return self.failure("an expression")

    def _name(self, start: int) -> ast.Expr:
        parts = [self.any_identifier()]
        while self.key == ".":
            if self.next_key == "*":
                raise self.refuse("'.*' is allowed only as a select item and in ROW(t.*)", start)
            self.advance()
            if not self.is_word:
                raise self.failure("a column name")
            parts.append(self.any_identifier())
            if self.key == "(":
                raise self.refuse("a function name has no '.' in it", start)
        return ast.ColumnRef(self.span_from(start), tuple(parts))

    def _typed_literal(self, start: int) -> ast.Expr | None:
        if self.key not in _LITERAL_TYPES:
            return None
        before = self.i
        type_ = self.type()
        if self.key != STRING:
            self.i, self.key = before, self.keys[before]
            return None
        text = self.tokens.values[self.i]
        assert isinstance(text, str)
        self.advance()
        return ast.TypedLiteral(self.span_from(start), type_, text)

    # -- calls

    def _call(self, start: int) -> ast.Expr:
        name = self.any_identifier()
        self.advance()
        distinct = self.accept("DISTINCT")
        quantified = distinct or self.accept("ALL")
        args: tuple[ast.Expr, ...] = ()
        if self.key != ")" or quantified:
            args = self._arguments()
        nulls = self._null_treatment()
        order_by: tuple[ast.OrderItem, ...] = ()
        if self.accept_words("ORDER", "BY"):
            order_by = self.order_items()
        nulls = nulls or self._null_treatment()
        if self.key != ")":
            raise self.failure(")", ",", "an operator")
        self.advance()
        if self.key not in _AFTER_CALL and not order_by and not nulls:
            return ast.FunctionCall(self.span_from(start), name, args, distinct)
        return self._call_suffixes(start, name, args, distinct, order_by, nulls)

    def _call_suffixes(
        self,
        start: int,
        name: ast.Identifier,
        args: tuple[ast.Expr, ...],
        distinct: bool,
        order_by: tuple[ast.OrderItem, ...],
        nulls: str | None,
    ) -> ast.Expr:
        within_distinct: tuple[ast.Expr, ...] = ()
        within_group: tuple[ast.OrderItem, ...] = ()
        condition: ast.Expr | None = None
        if self.accept_words("WITHIN", "DISTINCT"):
            within_distinct = self.parenthesised_expressions()
        if self.accept("WITHIN"):
            self.expect_words("GROUP", "(", "ORDER", "BY")
            within_group = self.order_items()
            self.expect(")")
        if self.accept("FILTER"):
            self.expect_words("(", "WHERE")
            condition = self.expression()
            self.expect(")")
        nulls = nulls or self._null_treatment()
        over: ast.WindowSpec | ast.Identifier | None = None
        if self.accept("OVER"):
            over = self.window_spec() if self.key == "(" else self.identifier("a window")
        return ast.FunctionCall(
            self.span_from(start),
            name,
            args,
            distinct,
            order_by,
            nulls,
            within_distinct,
            within_group,
            condition,
            over,
        )

    def _null_treatment(self) -> str | None:
        for word in ("RESPECT", "IGNORE"):
            if self.accept_words(word, "NULLS"):
                return word
        return None

    def _arguments(self) -> tuple[ast.Expr, ...]:
        args = [self._argument()]
        while self.accept(","):
            args.append(self._argument())
        return tuple(args)

    def _argument(self) -> ast.Expr:
        start = self.starts[self.i]
        if self.key == "*" or self.key == "TABLE":
            return self._star_or_table(start)
        if self.next_key == "=>" and self.is_word:  # OFFSET => …, although OFFSET is reserved
            name = self.any_identifier()
            self.advance()
            value = self._argument()
            return ast.NamedArgument(self.span_from(start), name, value)
        if self.key in _QUERY_START:
            raise self.refuse("a query as an argument is written in its own parentheses")
        value = self.expression()
        return self._lambda(value, start) if self.key == "->" else value

    def _star_or_table(self, start: int) -> ast.Expr:
        if self.accept("*"):
            return ast.Star(self.span_from(start))
        self.expect("TABLE")
        if self.accept("("):
            query = self.query()
            self.expect(")")
            return ast.TableArgument(self.span_from(start), query)
        return ast.TableArgument(self.span_from(start), self.identifier("a table"))

    def _lambda(self, head: ast.Expr, start: int) -> ast.Expr:
        heads = head.items if isinstance(head, ast.RowConstructor) else (head,)
        params = []
        for h in heads:
            if not isinstance(h, ast.ColumnRef) or len(h.parts) != 1:
                raise self.refuse("the parameters of a lambda are plain names", start)
            params.append(h.parts[0])
        self.advance()
        body = self.expression()
        return ast.Lambda(self.span_from(start), tuple(params), body)

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

    # -- order and windows

    def order_items(self) -> tuple[ast.OrderItem, ...]:
        items = [self._order_item()]
        while self.accept(","):
            items.append(self._order_item())
        return tuple(items)

    def _order_item(self) -> ast.OrderItem:
        start = self.starts[self.i]
        expr = None if self.accept("ALL") else self.expression()
        descending = self.accept("DESC")
        if not descending and self.key == "ASC":
            self.advance()
        nulls_first: bool | None = None
        if self.accept("NULLS"):
            nulls_first = self.key == "FIRST"
            if self.key not in ("FIRST", "LAST"):
                raise self.failure("FIRST", "LAST")
            self.advance()
        return ast.OrderItem(self.span_from(start), expr, descending, nulls_first)

    def window_spec(self) -> ast.WindowSpec:
        """`([base] [PARTITION BY …] [ORDER BY …] [frame])`."""
        start = self.starts[self.i]
        self.expect("(")
        base: ast.Identifier | None = None
        if self.is_name and self.key not in ("RANGE", "GROUPS"):
            base = self.any_identifier()
        partition_by: tuple[ast.Expr, ...] = ()
        if self.accept("PARTITION"):
            self.expect("BY")
            partition_by = self.expressions()
        order_by: tuple[ast.OrderItem, ...] = ()
        if self.accept("ORDER"):
            self.expect("BY")
            order_by = self.order_items()
        frame = self._frame() if self.key in ("ROWS", "RANGE", "GROUPS") else None
        if self.key != ")":
            raise self.failure("PARTITION BY", "ORDER BY", "ROWS", "RANGE", ")")
        self.advance()
        return ast.WindowSpec(self.span_from(start), base, partition_by, order_by, frame)

    def _frame(self) -> ast.Frame:
        start, unit = self.starts[self.i], self.key
        self.advance()
        if self.accept("BETWEEN"):
            first = self._bound()
            self.expect("AND")
            last = self._bound()
        else:
            first = self._bound()
            last = ast.FrameBound(first.span, "CURRENT ROW")
        exclude: str | None = None
        if self.accept("EXCLUDE"):
            words = next((w for w in _EXCLUSIONS if self.accept_words(*w)), None)
            if words is None:
                raise self.failure("CURRENT ROW", "GROUP", "TIES", "NO OTHERS")
            exclude = " ".join(words)
        return ast.Frame(self.span_from(start), unit, first, last, exclude)

    def _bound(self) -> ast.FrameBound:
        start = self.starts[self.i]
        if self.accept_words("CURRENT", "ROW"):
            return ast.FrameBound(self.span_from(start), "CURRENT ROW")
        unbounded = self.accept("UNBOUNDED")
        offset = None if unbounded else self.expression(_PREDICATE + 1)
        side = self.key
        if side not in ("PRECEDING", "FOLLOWING"):
            raise self.failure("PRECEDING", "FOLLOWING")
        self.advance()
        kind = f"UNBOUNDED {side}" if unbounded else side
        return ast.FrameBound(self.span_from(start), kind, offset)

    # -- forms with keywords inside

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
            raise self.failure("a query (a map of values is written MAP[key, value, …])")
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


_AFTER_CALL = frozenset(("WITHIN", "FILTER", "RESPECT", "IGNORE", "OVER"))
_EXCLUSIONS = (("CURRENT", "ROW"), ("GROUP",), ("TIES",), ("NO", "OTHERS"))

_FORMS: dict[tuple[str, str], Callable[[CallParser, int], ast.Expr]] = {
    ("CAST", "("): CallParser._cast_call,
    ("SAFE_CAST", "("): CallParser._cast_call,
    ("EXTRACT", "("): CallParser._extract,
    ("FLOOR", "("): CallParser._round,
    ("CEIL", "("): CallParser._round,
    ("CEILING", "("): CallParser._round,
    ("SUBSTRING", "("): CallParser._substring,
    ("POSITION", "("): CallParser._position,
    ("OVERLAY", "("): CallParser._overlay,
    ("TRIM", "("): CallParser._trim,
    ("EXISTS", "("): CallParser._exists,
    ("ARRAY", "["): CallParser._array,
    ("ARRAY", "("): CallParser._array,
    ("MAP", "["): CallParser._map,
    ("MAP", "("): CallParser._map_query,
    ("ROW", "("): CallParser._row,
    ("DESCRIPTOR", "("): CallParser._descriptor,
    ("CASE", "("): CallParser._case,
}
