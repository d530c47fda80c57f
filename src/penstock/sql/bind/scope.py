"""Which names an expression may use, and what they stand for.

    FROM a JOIN b USING (k)      entries (qualifier, name → expression over the joined columns)

        a.k      hidden (reachable as a.k only)
        b.k      hidden
        k        the merged column, first in `*`
        a.x, b.y plain

A scope is a value: joining two gives a third. Names are matched exactly; the parser has folded
unquoted ones to lower case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from penstock.data.types import Schema
from penstock.errors import Span
from penstock.plan.expressions import Expr, InputRef
from penstock.plan.rewrite import transform
from penstock.sql import ast
from penstock.sql.bind.report import BindError, did_you_mean
from penstock.sql.diagnostics import alike

_JOINS = ("LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL")


@dataclass(frozen=True, slots=True)
class Entry:
    """One visible column. `hidden`: reachable through its qualifier only, and not in `*`."""

    qualifier: str | None
    name: str
    expr: Expr
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """`entries` in the order of `*`; `tables` are the aliases in FROM. `groups`: an aggregate may
    stand here; `is_grouped`: the query has GROUP BY or HAVING."""

    entries: tuple[Entry, ...] = ()
    tables: tuple[str, ...] = ()
    groups: bool = False
    is_grouped: bool = False

    @staticmethod
    def of_table(alias: str | None, schema: Schema) -> Scope:
        entries = tuple(
            Entry(alias, f.name, InputRef(f.type, i, f.name)) for i, f in enumerate(schema.fields)
        )
        return Scope(entries, () if alias is None else (alias,))

    def find(self, qualifier: str | None, name: str, span: Span | None) -> Expr | None:
        """The column's expression, None if there is none; an error if there are several."""
        if qualifier is None:
            found = [e for e in self.entries if e.name == name and not e.hidden]
        else:
            found = [e for e in self.entries if e.name == name and e.qualifier == qualifier]
        if len(found) > 1:
            owners = dict.fromkeys(e.qualifier for e in found if e.qualifier)
            raise BindError(span, f"column {name} is ambiguous: {_choice(name, list(owners))}")
        return replace(found[0].expr, span=span) if found else None

    def star(self, qualifier: str | None = None) -> list[Entry]:
        """The columns of `*` or `qualifier.*`."""
        if qualifier is None:
            return [e for e in self.entries if not e.hidden]
        return [e for e in self.entries if e.qualifier == qualifier]

    def names(self, qualifier: str | None = None) -> list[str]:
        return [e.name for e in self.star(qualifier)]

    def unknown(
        self, qualifier: str | None, name: str, span: Span | None, around: Sequence[str] = ()
    ) -> BindError:
        """The error for a name that `find` did not find; `around`: tables of queries around."""
        if qualifier is None:
            hint = did_you_mean(name, self.names()) or did_you_mean(name, ("DISTINCT",), 0.8)
            hint = hint or self._list_tables()
            return BindError(span, f"there is no column {name} here{hint}")
        if qualifier not in self.tables:
            # a column too: it may be a field of it that is meant
            hint = did_you_mean(qualifier, (*self.tables, *around))
            hint = hint or did_you_mean(qualifier, self.names(), 0.8) or self._list_tables()
            return BindError(span, f"there is no table {qualifier} in this query's FROM{hint}")
        hint = did_you_mean(name, self.names(qualifier))
        return BindError(span, f"{qualifier} has no column {name}{hint}")

    def _list_tables(self) -> str:
        for table in self.tables:  # FROM a LFET JOIN b
            if meant := alike(table, _JOINS, 0.8):
                return f"; is the alias {table} to be {meant[0]}?"
        return f"; FROM has {', '.join(self.tables)}" if self.tables else ""

    def joined(self, right: Scope, width: int, span: Span | None) -> Scope:
        """This scope's entries, then `right`'s, whose columns start at `width`."""
        for table in right.tables:
            if table in self.tables:
                raise BindError(span, f"FROM has two tables named {table}; give one an alias")
        moved = tuple(replace(e, expr=shifted(e.expr, width)) for e in right.entries)
        return Scope(self.entries + moved, self.tables + right.tables)

    def nullable(self) -> Scope:
        """The same columns on the padded side of an outer join."""
        return replace(
            self, entries=tuple(replace(e, expr=_nullable(e.expr)) for e in self.entries)
        )

    def merged(self, columns: Sequence[tuple[str, Expr]]) -> Scope:
        """After USING: the merged columns first, their originals hidden."""
        names = {name for name, _ in columns}
        rest = tuple(replace(e, hidden=True) if e.name in names else e for e in self.entries)
        first = tuple(Entry(None, name, expr) for name, expr in columns)
        return replace(self, entries=first + rest)


def excluded(star: ast.Star, names: Sequence[str]) -> set[str]:
    """The columns that a `*` over `names` leaves out. Raises BindError."""
    gone: set[str] = set()
    for x in star.exclude:
        if x.name not in names:
            raise BindError(x.span, f"* has no column {x.name}{did_you_mean(x.name, names)}")
        if x.name in gone:
            raise BindError(x.span, f"EXCLUDE names column {x.name} twice")
        gone.add(x.name)
    return gone


def shifted(expr: Expr, by: int) -> Expr:
    def rule(e: Expr) -> Expr:
        return replace(e, index=e.index + by) if isinstance(e, InputRef) else e

    return transform(expr, rule) if by else expr


def _nullable(expr: Expr) -> Expr:
    return transform(expr, lambda e: replace(e, type=e.type.with_nullable(True)))


def _choice(name: str, owners: Sequence[str]) -> str:
    """What column `name` of the tables `owners` could be, when that is unclear."""
    if not owners:
        return "there are several of this name"
    if len(owners) == 1:
        return f"{owners[0]} has several of this name"
    return "it could be " + ", ".join(f"{owner}.{name}" for owner in owners)
