"""Statements: CREATE …, DECLARE RECURSIVE VIEW, LATENESS, SET (contract 10.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from penstock.errors import Span
from penstock.sql import ast
from penstock.sql.lexer import BINARY, NUMBER, STRING
from penstock.sql.parser.cursor import SyntaxFailure, words
from penstock.sql.parser.elsewhere import STATEMENTS
from penstock.sql.parser.queries import QueryParser

_DML = frozenset(words("INSERT UPDATE DELETE MERGE UPSERT TRUNCATE COPY"))
_DDL = frozenset(words("DROP ALTER RENAME REPLACE"))
_NOT_SUPPORTED = {
    "UNIQUE": "UNIQUE constraints are not supported: declare a PRIMARY KEY",
    "CHECK": "CHECK constraints are not supported",
    "CONSTRAINT": "constraints of a column have no names: leave out CONSTRAINT and its name",
    "GENERATED": "generated columns are not supported: use a DEFAULT or a view",
    **dict.fromkeys(
        ("AUTO_INCREMENT", "IDENTITY"), "numbers are not made here: rows bring their own"
    ),
    "COMMENT": "COMMENT is not supported: a comment is written -- … or /* … */",
    "COLLATE": "COLLATE is not supported: strings compare by code point",
}


class StatementParser(QueryParser):
    def statement(self) -> ast.Statement:
        start = self.starts[self.i]
        key = self.key
        if key == "CREATE":
            self.advance()
            return self._create(start)
        if key == "DECLARE":
            self.advance()
            return self._declare(start)
        if key == "LATENESS":
            self.advance()
            return self._lateness(start)
        if key == "SET":
            self.advance()
            return self._set(start)
        raise self._not_a_statement()

    def _not_a_statement(self) -> SyntaxFailure:
        key = self.key
        if key in _DML:
            return self.refuse(
                f"{key} is not part of a program: rows arrive through the inputs of the pipeline"
            )
        if key in _DDL:
            return self.refuse(
                f"{key} is not part of a program: a program declares all its tables and views; "
                f"change the declaration instead"
            )
        if key in ("SELECT", "WITH", "VALUES", "("):
            return self.refuse("a query alone is not a statement: write CREATE VIEW name AS …")
        if key in STATEMENTS:
            return self.refuse(f"{key} is not part of a program: {STATEMENTS[key]}")
        return self.failure("CREATE", "DECLARE", "LATENESS", "SET")

    def _create(self, start: int) -> ast.Statement:
        if self.ahead("OR", "REPLACE"):
            raise self.refuse("OR REPLACE is not supported: a name is declared once in a program")
        create = _CREATE.get(self.key)
        if create is None:
            raise self.failure("TABLE", "VIEW", "MATERIALIZED VIEW", "LOCAL VIEW", "TYPE",
                               "FUNCTION", "AGGREGATE", "INDEX")  # fmt: skip
        return create(self, start)

    def _new_name(self, what: str) -> ast.Identifier:
        if self.ahead("IF", "NOT", "EXISTS"):
            raise self.refuse("IF NOT EXISTS is not supported: a name is declared once")
        name = self.identifier(what)
        if self.key == ".":
            raise self.refuse("names are plain, without a schema before them")
        return name

    # -- CREATE TABLE

    def _create_table(self, start: int) -> ast.Statement:
        self.advance()
        name = self._new_name("a table name")
        columns: list[ast.ColumnDef] = []
        primary_keys: list[ast.PrimaryKey] = []
        foreign_keys: list[ast.ForeignKey] = []
        self.expect("(")
        while True:
            at = self.starts[self.i]
            if self._is_named_constraint():
                self.advance()
                self.advance()
            if self.key == "PRIMARY":
                self.advance()
                self.expect("KEY")
                keys = self.identifiers()
                primary_keys.append(ast.PrimaryKey(self.span_from(at), keys))
            elif self.key == "FOREIGN":
                self.advance()
                self.expect("KEY")
                foreign_keys.append(self._references(at, self.identifiers()))
            else:
                columns.append(self._column())
            if not self.accept(","):
                break
        if self.key != ")":
            self._refuse_column_suffix()
        self.advance()
        properties = self._properties() if self.key == "WITH" else ()
        return ast.CreateTable(
            self.span_from(start),
            name,
            tuple(columns),
            tuple(primary_keys),
            tuple(foreign_keys),
            properties,
        )

    def _refuse_column_suffix(self) -> NoReturn:
        if self.key in _NOT_SUPPORTED:
            raise self.refuse(_NOT_SUPPORTED[self.key])
        raise self.failure(",", ")", "NOT NULL", "PRIMARY KEY", "FOREIGN KEY", "LATENESS",
                           "DEFAULT")  # fmt: skip

    def _references(self, at: int, columns: tuple[ast.Identifier, ...]) -> ast.ForeignKey:
        self.expect("REFERENCES")
        table = self.identifier("a table name")
        targets = self.identifiers()
        return ast.ForeignKey(self.span_from(at), columns, table, targets)

    def _column(self) -> ast.ColumnDef:
        start = self.starts[self.i]
        if self._is_constraint():
            raise self.refuse(_NOT_SUPPORTED[self.key])
        if self.key in ("INDEX", "KEY") and self.next_key == "(":
            raise self.refuse("a table has no index but its PRIMARY KEY: leave it out")
        name = self.identifier("a column name")
        column = ast.ColumnDef(name.span, name, self.nullable_type_after(name))
        seen: set[str] = set()
        if column.type.nullable is not None:
            seen.add("NULL")
        while True:
            at, index = self.starts[self.i], self.i
            added = self._constraint(column, at)
            if added is None:
                return replace(column, span=self.span_from(start))
            word, column = added
            if word in seen:
                span = Span(at, self.ends[self.i - 1])
                self.i, self.key = index, self.keys[index]
                refused = self.refuse(f"a second {word} of column {name.name}")
                refused.span = span
                raise refused
            if word != "FOREIGN KEY":
                seen.add(word)

    def _is_named_constraint(self) -> bool:
        """Whether a constraint of the table has a name here, which says nothing."""
        after = self.keys[self.i + 2 : self.i + 3]
        named = (["PRIMARY"], ["FOREIGN"], ["UNIQUE"], ["CHECK"])
        return self.key == "CONSTRAINT" and after in named

    def _is_constraint(self) -> bool:
        """Whether a constraint begins here that tables cannot have: its words are names, too."""
        return (self.key in ("UNIQUE", "CHECK") and self.next_key == "(") or (
            self.key == "UNIQUE" and self.next_key in ("KEY", "INDEX")
        )

    def _constraint(self, column: ast.ColumnDef, at: int) -> tuple[str, ast.ColumnDef] | None:
        """The next constraint of a column and the column with it, None when there is none."""
        if self.accept_words("NOT", "NULL"):
            return "NULL", replace(column, type=replace(column.type, nullable=False))
        if self.accept("NULL"):
            return "NULL", replace(column, type=replace(column.type, nullable=True))
        if self.accept("PRIMARY"):
            self.expect("KEY")
            return "PRIMARY KEY", replace(column, primary_key=ast.PrimaryKey(self.span_from(at)))
        if self.key in ("FOREIGN", "REFERENCES"):
            if self.accept("FOREIGN"):
                self.expect("KEY")
            key = self._references(at, ())
            return "FOREIGN KEY", replace(column, references=(*column.references, key))
        if self.accept("LATENESS"):
            return "LATENESS", replace(column, lateness=self.expression())
        if self.accept("WATERMARK"):
            return "WATERMARK", replace(column, watermark=self.expression())
        if self.accept("DEFAULT"):
            return "DEFAULT", replace(column, default=self.expression())
        if self.accept("INTERNED"):
            return "INTERNED", replace(column, interned=True)
        return None

    def _properties(self) -> tuple[ast.Property, ...]:
        """`WITH ('key' = 'value', …)`."""
        self.advance()
        self.expect("(")
        properties = [self._property()]
        while self.accept(","):
            properties.append(self._property())
        if self.key != ")":
            raise self.failure(",", ")")
        self.advance()
        return tuple(properties)

    def _property(self) -> ast.Property:
        start = self.starts[self.i]
        key = self._text("a property name as a string literal, as in 'materialized'")
        self.expect("=")
        value = self._text("a string literal, as in 'true'")
        return ast.Property(self.span_from(start), key, value)

    def _text(self, what: str) -> ast.Text:
        if self.key != STRING:
            raise self.failure(what)
        value, span = self.tokens.values[self.i], self.here()
        assert isinstance(value, str)
        self.advance()
        return ast.Text(span, value)

    # -- CREATE VIEW and INDEX

    def _create_view(self, start: int) -> ast.Statement:
        kind = "plain"
        if self.key in ("LOCAL", "MATERIALIZED"):
            kind = self.key.lower()
            self.advance()
        self.expect("VIEW")
        name = self._new_name("a view name")
        columns = self.identifiers() if self.key == "(" else ()
        properties = self._properties() if self.ahead("WITH", "(") else ()
        self.expect("AS")
        query = self.query()
        return ast.CreateView(self.span_from(start), name, kind, query, columns, properties)

    def _create_index(self, start: int) -> ast.Statement:
        self.advance()
        name = self._new_name("an index name")
        self.expect("ON")
        view = self.identifier("a view name")
        columns = self.identifiers()
        return ast.CreateIndex(self.span_from(start), name, view, columns)

    # -- CREATE TYPE, FUNCTION, AGGREGATE

    def _create_type(self, start: int) -> ast.Statement:
        self.advance()
        name = self._new_name("a type name")
        self.expect("AS")
        if self.key == "(":
            fields = self.type_fields()
            return ast.CreateType(self.span_from(start), name, None, fields)
        type_ = self.type()
        return ast.CreateType(self.span_from(start), name, type_)

    def _signature(self) -> tuple[ast.Identifier, tuple[ast.TypeField, ...], ast.TypeExpr]:
        """`name(param type, …) RETURNS type`."""
        name = self._new_name("a function name")
        params: tuple[ast.TypeField, ...] = ()
        if not self.accept_words("(", ")"):
            params = self.type_fields()
        self.expect("RETURNS")
        return name, params, self.nullable_type()

    def _create_function(self, start: int) -> ast.Statement:
        self.advance()
        name, params, returns = self._signature()
        body = self.expression() if self.accept("AS") else None
        return ast.CreateFunction(self.span_from(start), name, params, returns, body)

    def _create_aggregate(self, start: int) -> ast.Statement:
        linear = self.accept("LINEAR")
        self.expect("AGGREGATE")
        name, params, returns = self._signature()
        return ast.CreateAggregate(self.span_from(start), name, params, returns, linear)

    # -- the rest

    def _declare(self, start: int) -> ast.Statement:
        self.expect_words("RECURSIVE", "VIEW")
        name = self._new_name("a view name")
        columns = self.type_fields()
        return ast.DeclareRecursiveView(self.span_from(start), name, columns)

    def _lateness(self, start: int) -> ast.Statement:
        view = self.identifier("a view name")
        column: list[ast.Identifier] = []
        self.expect(".")
        column.append(self.identifier("a column name"))
        while self.accept("."):
            column.append(self.identifier("a column name"))
        expr = self.expression()
        return ast.Lateness(self.span_from(start), view, tuple(column), expr)

    def _set(self, start: int) -> ast.Statement:
        name = self.identifier("the name of an option")
        self.expect("=")
        at = self.starts[self.i]
        if self.key in ("ON", "OFF"):
            on = self.key == "ON"
            self.advance()
            value = ast.Literal(self.span_from(at), on, "TRUE" if on else "FALSE")
            return ast.SetOption(self.span_from(start), name, value)
        if self.key not in (STRING, NUMBER, BINARY, "TRUE", "FALSE", "NULL"):
            raise self.failure("ON", "OFF", "a literal")
        literal = self.expression()
        if not isinstance(literal, ast.Literal):
            raise self.refuse("an option takes ON, OFF or a literal", at)
        return ast.SetOption(self.span_from(start), name, literal)


_CREATE: dict[str, Callable[[StatementParser, int], ast.Statement]] = {
    "TABLE": StatementParser._create_table,
    "VIEW": StatementParser._create_view,
    "LOCAL": StatementParser._create_view,
    "MATERIALIZED": StatementParser._create_view,
    "INDEX": StatementParser._create_index,
    "TYPE": StatementParser._create_type,
    "FUNCTION": StatementParser._create_function,
    "AGGREGATE": StatementParser._create_aggregate,
    "LINEAR": StatementParser._create_aggregate,
}
