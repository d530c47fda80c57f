"""Type syntax: `DECIMAL(10, 2)`, `VARCHAR ARRAY`, `MAP<INT, VARCHAR>`, `ROW(a INT, b INT NULL)`.

Not here: which names are types, and what they mean (the binder).
"""

from __future__ import annotations

from dataclasses import replace

from penstock.sql import ast
from penstock.sql.lexer import QUOTED
from penstock.sql.parser.cursor import Cursor, words

_INTEGERS = words("TINYINT SMALLINT INT2 INTEGER INT INT4 SIGNED BIGINT INT8 INT64")

#: first word -> words that may follow it as part of the type's name
_SECOND_WORDS = {
    "DOUBLE": ("PRECISION",),
    "CHARACTER": ("VARYING",),
    "CHAR": ("VARYING",),
    "BINARY": ("VARYING",),
    **dict.fromkeys(_INTEGERS, ("UNSIGNED",)),
}


class TypeParser(Cursor):
    def type(self) -> ast.TypeExpr:
        """A type without nullability."""
        start = self.starts[self.i]
        type_ = self._plain_type(start)
        while self.accept("ARRAY"):
            type_ = ast.ArrayType(self.span_from(start), type_)
        return type_

    def nullable_type(self) -> ast.TypeExpr:
        """A type with an optional NULL or NOT NULL."""
        start = self.starts[self.i]
        type_ = self.type()
        if self.accept_words("NOT", "NULL"):
            return replace(type_, nullable=False, span=self.span_from(start))
        if self.accept("NULL"):
            return replace(type_, nullable=True, span=self.span_from(start))
        return type_

    def type_fields(self) -> tuple[ast.TypeField, ...]:
        """`(name type [NOT NULL], …)`, at least one."""
        self.expect("(")
        fields = [self.type_field()]
        while self.accept(","):
            fields.append(self.type_field())
        self.expect(")")
        return tuple(fields)

    def type_field(self) -> ast.TypeField:
        start = self.starts[self.i]
        name = self.identifier()
        return ast.TypeField(self.span_from(start), name, self.nullable_type_after(name))

    def nullable_type_after(self, name: ast.Identifier) -> ast.TypeExpr:
        if not self.is_name and self.key not in ("ROW", "INTERVAL"):
            raise self.refuse(f"found {self.shown(self.i)}, expected the type of {name.name}")
        return self.nullable_type()

    def _plain_type(self, start: int) -> ast.TypeExpr:
        if self.accept("ROW"):
            fields = self.type_fields()
            return ast.RowType(self.span_from(start), fields)
        if self.key == "MAP" and self.next_key == "<":
            self.advance()
            self.advance()
            key = self.type()
            self.expect(",")
            value = self.type()
            self.expect(">")
            return ast.MapType(self.span_from(start), key, value)
        if self.accept("INTERVAL"):
            qualifier = self.qualifier()
            return ast.IntervalType(self.span_from(start), qualifier)
        return self._named_type(start)

    def _named_type(self, start: int) -> ast.NamedType:
        if not self.is_name:
            raise self.failure("a type")
        first, quoted = self.key, self.key == QUOTED
        name = self.any_identifier().name
        if self.key in _SECOND_WORDS.get(first, ()):
            name = f"{name} {self.key.lower()}"
            self.advance()
        self._check_elsewhere(first)
        args = self._type_arguments()
        if first in ("TIMESTAMP", "TIME", "DATETIME"):
            name += self._time_zone()
        return ast.NamedType(self.span_from(start), name, args, quoted)

    def _check_elsewhere(self, name: str) -> None:
        """Types that other dialects write with brackets."""
        if self.key == "[" and self.next_key == "]":
            raise self.refuse("an array type is written with its elements first, as in INT ARRAY")
        if self.key == "<" and name in ("ARRAY", "LIST"):
            raise self.refuse("an array type is written with its elements first, as in INT ARRAY")
        if self.key == "<" and name == "STRUCT":
            raise self.refuse("a type with fields is written ROW(name type, …)")
        if self.key == "(" and name == "ENUM":
            raise self.refuse("there is no type enum; write VARCHAR")

    def _type_arguments(self) -> tuple[int, ...]:
        if not self.accept("("):
            return ()
        args = [self.integer()]
        while self.accept(","):
            args.append(-self.integer() if self.accept("-") else self.integer())
        self.expect(")")
        return tuple(args)

    def _time_zone(self) -> str:
        for word in ("WITH", "WITHOUT"):
            if self.accept_words(word, "TIME", "ZONE"):
                return f" {word.lower()} time zone"
        return ""

    def qualifier(self) -> ast.Qualifier:
        """`DAY`, `HOUR(3)`, `DAY TO SECOND(3)`."""
        start = self.starts[self.i]
        unit = self.unit()
        precision = self._precision()
        to_unit = None
        if self.accept("TO"):
            to_unit = self.unit()
            self._precision()
        return ast.Qualifier(self.span_from(start), unit, to_unit, precision)

    def _precision(self) -> int | None:
        if not self.accept("("):
            return None
        precision = self.integer("a number of digits")
        if self.accept(","):
            self.integer("a number of digits")
        self.expect(")")
        return precision
