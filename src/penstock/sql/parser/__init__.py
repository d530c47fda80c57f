"""The parser: program text in, syntax tree out, all syntax errors at once.

    parse_program     statements separated by `;`
    parse_statements  those that parse, and what is wrong with the others
    parse_query       one query (ad-hoc queries)
    parse_expression  one scalar expression

A recursive-descent parser for statements and queries, a Pratt parser for expressions, in layers
of one class, each knowing the ones above it in this list only:

    elsewhere    what other dialects write, told when a parse has failed
    cursor       the token at hand, accepting and refusing it
    types        type syntax
    expressions  operators by binding power
    windows      ORDER BY items, OVER (…)
    forms        what has keywords inside its parentheses
    calls        names and functions
    tables       FROM
    queries      SELECT, set operations, VALUES
    statements   DDL
    meant        the misspelt keyword, or the mark that is missing, in what does not parse

After an error the parser goes on behind the next `;`, so one compilation reports every wrong
statement. Nothing but `SqlError` escapes.

Cost: linear in the text, about 0.5 ms for a query of 40 lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.errors import CompilerMessage, SqlError
from penstock.sql import ast
from penstock.sql.diagnostics import message
from penstock.sql.lexer import END, Tokens, tokenize
from penstock.sql.parser.cursor import SyntaxFailure
from penstock.sql.parser.meant import meant
from penstock.sql.parser.statements import StatementParser

ERROR_TYPE = "Error parsing SQL"

_DECLARES = frozenset(("TABLE", "VIEW", "TYPE", "FUNCTION", "AGGREGATE", "INDEX"))

__all__ = ["Parsed", "parse_expression", "parse_program", "parse_query", "parse_statements"]


@dataclass(frozen=True, slots=True)
class Parsed:
    """The statements of a program that parse, in order; a message for each that does not, in order
    of position; the names that those would have declared."""

    statements: list[ast.Statement]
    messages: list[CompilerMessage]
    lost: frozenset[str]
    #: whether the text falls into statements; behind a quote without an end that is a guess
    is_sound: bool


def parse_program(text: str) -> list[ast.Statement]:
    """The statements of a program, in order.

    Raises:
        SqlError: with one message per wrong statement, in order of position.
    """
    parsed = parse_statements(text)
    if parsed.messages:
        raise SqlError(parsed.messages)
    return parsed.statements


def parse_statements(text: str) -> Parsed:
    """What can be read of a program. Never raises."""
    tokens = tokenize(text)
    parser = StatementParser(tokens)
    statements: list[ast.Statement] = []
    failures: list[SyntaxFailure] = []
    lost: set[str] = set()
    while parser.key != END:
        if parser.accept(";"):
            continue
        first = parser.i
        try:
            statement = parser.guarded(parser.statement)
            if parser.key not in (";", END):
                raise parser.unfinished()
            if _has_lexical_error(tokens, first, parser.i):
                lost |= _declared(tokens, first, parser.i)
            else:
                statements.append(statement)
        except SyntaxFailure as raised:
            failure = meant(parser, raised, first, StatementParser.statement)
            parser.skip_to(";")
            lost |= _declared(tokens, first, parser.i)
            if not _has_lexical_error(tokens, first, parser.i):
                failures.append(failure)
    return Parsed(statements, _messages(tokens, failures), frozenset(lost), not tokens.is_unclosed)


def parse_query(text: str) -> ast.Query:
    """One query; a final `;` is allowed. Raises SqlError."""
    tokens = tokenize(text)
    parser = StatementParser(tokens)
    try:
        query = parser.guarded(parser.query)
        parser.accept(";")
        if parser.key != END:
            raise parser.unfinished()
    except SyntaxFailure as raised:
        failure = meant(parser, raised, 0, StatementParser.query)
        _raise_if_any(tokens, [] if tokens.errors else [failure])
        raise AssertionError("unreachable") from None
    _raise_if_any(tokens, [])
    return query


def parse_expression(text: str) -> ast.Expr:
    """One scalar expression. Raises SqlError."""
    tokens = tokenize(text)
    parser = StatementParser(tokens)
    try:
        expr = parser.guarded(parser.expression)
        if parser.key != END:
            raise parser.unfinished()
    except SyntaxFailure as raised:
        failure = meant(parser, raised, 0, StatementParser.expression)
        _raise_if_any(tokens, [] if tokens.errors else [failure])
        raise AssertionError("unreachable") from None
    _raise_if_any(tokens, [])
    return expr


def _has_lexical_error(tokens: Tokens, first: int, last: int) -> bool:
    """Whether the tokens first..last were damaged already: one error per cause is enough."""
    start = tokens.starts[first]
    end = len(tokens.text) if tokens.keys[last] == END else tokens.starts[last]
    return any(start <= span.start <= end for span, _ in tokens.errors)


def _declared(tokens: Tokens, first: int, last: int) -> set[str]:
    """The names that stand behind CREATE VIEW and the like among the tokens first..last."""
    return {
        str(tokens.values[i + 1])
        for i in range(first, last - 1)
        if tokens.keys[i] in _DECLARES and isinstance(tokens.values[i + 1], str)
    }


def _messages(tokens: Tokens, failures: list[SyntaxFailure]) -> list[CompilerMessage]:
    found = [*tokens.errors, *((f.span, f.what) for f in failures)]
    found.sort(key=lambda pair: pair[0].start)
    return [message(tokens.text, span, what, error_type=ERROR_TYPE) for span, what in found]


def _raise_if_any(tokens: Tokens, failures: list[SyntaxFailure]) -> None:
    messages = _messages(tokens, failures)
    if messages:
        raise SqlError(messages)
