"""Names and function calls.

price                         ColumnRef
t.r.f                         ColumnRef
f(DISTINCT a) FILTER … OVER   FunctionCall
DATE '2020-01-01'             TypedLiteral
x -> x + 1                    Lambda, as an argument
"""

from __future__ import annotations

from penstock.sql import ast
from penstock.sql.lexer import STRING
from penstock.sql.parser.cursor import RESERVED, words
from penstock.sql.parser.expressions import _QUERY_START
from penstock.sql.parser.forms import FORMS, FormParser

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


class CallParser(FormParser):
    def name_or_call(self, start: int) -> ast.Expr:
        following = self.next_key
        if following == "(" or following == "[":
            form = FORMS.get((self.key, following))
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
        if self.key == "*" and self.keys[self.i - 1] != "*":
            return self.refuse("'*' is allowed only as a select item, in COUNT(*) and in ROW(t.*)")
        if self.key in _QUERY_START:
            return self.refuse(
                f"found {self.shown(self.i)}, expected an expression: a query inside an "
                f"expression is written in parentheses"
            )
        if told := self._pasted():
            return told
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
            if self.ahead("(", "+", ")"):
                raise self.refuse("(+) of an outer join: write LEFT JOIN … ON …")
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


_AFTER_CALL = frozenset(("WITHIN", "FILTER", "RESPECT", "IGNORE", "OVER"))
