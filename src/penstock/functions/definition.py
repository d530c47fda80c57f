"""What a scalar function is: `Function`, a resolved overload, and `define`, how one is declared.

    @define("REVERSE", [STRING], VARCHAR)              name, parameters, result
    def reverse(s: Column, n: int) -> Column: ...      the kernel, whole columns in and out

A kernel gets one column per argument and the number of rows `n`. A column has `n` rows, or one
row when the argument is the same for every row (numpy broadcasting then does the right thing);
the result has `n` rows, or one if every argument has one. Kernels are pure and have no Python
loop over rows.

NULL: a strict function (the default) is NULL where an argument is. The evaluator unites the
arguments' `valid` masks and clears the bytes under NULL, so a kernel computes anything it likes
there, but it must not *fail* there: `fail_where` looks at the masks. Floats need no
canonical NaN or zero either; the evaluator sees to it.

Where the types decide more than a parameter list can say, declare a `typed` resolver instead:

    @define_typed("ABS", "ABS(number)")
    def abs_(types, literals) -> Overload | None: ...

Not here: finding a function by name (`registry`), casts that are no functions (`casts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.masks import any_set
from penstock.data.types import INTEGER, Kind, SqlType
from penstock.errors import RuntimeSqlError

Kernel = Callable[[Sequence[Column], int], Column]
Types = tuple[SqlType, ...]
#: per argument the Python value of a literal, None where the argument is not a constant
Literals = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """One resolved overload of a scalar function.

    `arg_types` are exact: the binder casts an argument whose type differs (nullability is that
    of the argument as given). `can_fail`: some rows can raise (overflow, division by zero), so
    the optimiser must not move it past a guard.
    """

    name: str
    arg_types: tuple[SqlType, ...]
    result: SqlType
    kernel: Kernel = field(compare=False, hash=False, repr=False)
    strict: bool = True
    can_fail: bool = False


@dataclass(frozen=True, slots=True)
class Overload:
    """What a resolver answers: types without regard to nullability, and the kernel.

    `nullable`: None computes it from the arguments, a bool overrides it.
    """

    arg_types: Types
    result: SqlType
    kernel: Kernel
    can_fail: bool = False
    strict: bool = True
    nullable: bool | None = None

    def function(self, name: str, given: Types) -> Function:
        """The Function for arguments of types `given`."""
        nullable = any(t.nullable for t in given) if self.nullable is None else self.nullable
        args = tuple(
            want.with_nullable(have.nullable)
            for want, have in zip(self.arg_types, given, strict=True)
        )
        result = self.result.with_nullable(nullable)
        return Function(name, args, result, self.kernel, self.strict, self.can_fail)


Resolver = Callable[[Types, Literals], Overload | None]


@dataclass(frozen=True, slots=True)
class Definition:
    """An entry of the table: `signatures` are for error messages and documentation, and so are
    `result` (None: by the arguments) and `family`, the module that declares it."""

    name: str
    signatures: tuple[str, ...]
    resolve: Resolver
    result: SqlType | None = None
    family: str = ""


#: every definition by upper-case name, in order of declaration (earlier ones win)
DEFINITIONS: dict[str, list[Definition]] = {}


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter's family: the kinds taken as they are, the kinds cast to `default`. With
    `saturates` the kernel sees INTEGERs, a wider number as the nearest one: there is no longer
    text than that anyway, and no such year."""

    label: str
    kinds: frozenset[Kind]
    default: SqlType
    coerced: frozenset[Kind] = frozenset()
    saturates: bool = False

    def exact(self, t: SqlType) -> SqlType | None:
        if t.kind is Kind.NULL:
            return self.default
        return t if t.kind in self.kinds else None

    def accept(self, t: SqlType) -> SqlType | None:
        """The type an argument of type `t` must have (a cast where it differs), else None."""
        return self.exact(t) or (self.default if t.kind in self.coerced else None)


def _match(params: Sequence[Param], rest: Param | None, types: Types) -> Types | None:
    if len(types) < len(params) or (len(types) > len(params) and rest is None):
        return None
    wanted = list(params) + [rest] * (len(types) - len(params))
    out = [p.accept(t) for p, t in zip(wanted, types, strict=True) if p is not None]
    return None if any(t is None for t in out) else tuple(t for t in out if t is not None)


def _saturated(column: Column) -> Column:
    """An integer column as INTEGER."""
    if column.type.kind is Kind.INT32:
        return column
    values, limits = column.values, np.iinfo(np.int32)
    if values.dtype.kind == "i":
        values = np.maximum(values, limits.min)
    values = np.minimum(values, limits.max).astype(np.int32)
    return Column(INTEGER.with_nullable(column.type.nullable), values, column.valid)


def define(
    names: str | Sequence[str],
    params: Sequence[Param],
    result: SqlType | Callable[[Types], SqlType],
    *,
    rest: Param | None = None,
    strict: bool = True,
    can_fail: bool | Callable[[Literals], bool] = False,
    nullable: bool | Callable[[Types], bool] | None = None,
) -> Callable[[Callable[..., Column]], Callable[..., Column]]:
    """Declare a function (or several spellings of one) with a fixed parameter list.

    `result` is a type or a function of the argument types after coercion; `rest` the family of
    any further arguments; `nullable` as in `Overload`, or a function of the argument types;
    `can_fail` may depend on which arguments are literals. The kernel is called as
    `kernel(*columns, n)`.
    """
    spellings = [names] if isinstance(names, str) else list(names)

    saturating = [i for i, p in enumerate(params) if p.saturates]

    def register(kernel: Callable[..., Column]) -> Callable[..., Column]:
        def call(args: Sequence[Column], n: int) -> Column:
            columns = list(args)
            for i in saturating:
                columns[i] = _saturated(columns[i])
            return kernel(*columns, n)

        def resolver(types: Types, literals: Literals) -> Overload | None:
            wanted = _match(params, rest, types)
            if wanted is None:
                return None
            out = result if isinstance(result, SqlType) else result(wanted)
            null = nullable(types) if callable(nullable) else nullable
            fails = can_fail(literals) if callable(can_fail) else can_fail
            return Overload(wanted, out, call, fails, strict, null)

        labels = ", ".join([p.label for p in params] + ([f"{rest.label}, …"] if rest else []))
        for name in spellings:
            known = result if isinstance(result, SqlType) else None
            family = kernel.__module__.rpartition(".")[2]
            entry = Definition(name, (f"{name}({labels})",), resolver, known, family)
            DEFINITIONS.setdefault(name.upper(), []).append(entry)
        return kernel

    return register


def define_typed(names: str | Sequence[str], *signatures: str) -> Callable[[Resolver], Resolver]:
    """Declare a function whose resolver looks at the argument types itself."""
    spellings = [names] if isinstance(names, str) else list(names)

    def register(resolver: Resolver) -> Resolver:
        for name in spellings:
            lines = tuple(s.replace("{}", name) for s in signatures)
            family = resolver.__module__.rpartition(".")[2]
            entry = Definition(name, lines, resolver, family=family)
            DEFINITIONS.setdefault(name.upper(), []).append(entry)
        return resolver

    return register


def fail_where(bad: Array, args: Sequence[Column], message: str) -> None:
    """Raise RuntimeSqlError for the first row of `bad` whose arguments are all non-NULL."""
    if not any_set(bad):
        return
    for column in args:
        if column.valid is not None:
            bad = bad & column.valid.view(np.bool_)
    if bad.any():
        raise RuntimeSqlError(message, row=int(np.argmax(bad)))
