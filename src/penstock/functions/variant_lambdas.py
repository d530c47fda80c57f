"""Functions of a VARIANT and a lambda (sql-reference 2.15).

    VARIANT_FILTER       (k, x) -> p       top-level entries of an object, kept where p is TRUE
    VARIANT_MAP          (k, x) -> f       their values replaced
    VARIANT_DEEP_FILTER  (path, x) -> p    every item, from the top down; what goes takes its inside
    VARIANT_DEEP_MAP     (path, x) -> f    every leaf replaced, the structure kept

What is no object is one item with a NULL key (path). Results of any type are wrapped; NULL becomes
the variant null inside a container. The deep ones evaluate the lambda once per level of nesting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Column
from penstock.data.build import null_column
from penstock.data.gather import take_column
from penstock.data.nested import Offsets, explode, implode
from penstock.data.types import BOOLEAN, VARCHAR, VARIANT, Kind, SqlType
from penstock.data.variant import (
    TAGS,
    VARIANT_ARRAY,
    VARIANT_MAP,
    assemble,
    can_wrap,
    container,
    groups,
    tags,
    variant_null,
    wrap,
)
from penstock.errors import UserError
from penstock.functions import text
from penstock.functions.lambdas import LAMBDA_FUNCTIONS, Call, LambdaFunction
from penstock.functions.ragged import offsets_of
from penstock.functions.variants import entries, quoted_keys

Bools = npt.NDArray[np.bool_]
Run = Callable[[Column, Call], Column]
_CONTAINERS = (TAGS[Kind.ARRAY], TAGS[Kind.MAP])


def _is_container(column: Column) -> Bools:
    return np.isin(tags(column), _CONTAINERS)


def _result(body: SqlType) -> SqlType:
    if not can_wrap(body):
        raise UserError(f"a {body.with_nullable(True)} cannot be in a VARIANT")
    return VARIANT


def _true(answer: Column) -> Bools:
    return np.asarray(answer.values == 1)  # 0 under NULL


def _known(values: Column) -> Column:
    """NULL as the variant null."""
    if values.valid is None:
        return values
    missing = np.flatnonzero(values.valid == 0)
    there = np.flatnonzero(values.valid)
    pieces = [(there, take_column(values, there)), (missing, variant_null(len(missing)))]
    return assemble(VARIANT, len(values), [p for p in pieces if len(p[0])])


# the top level -------------------------------------------------------------------------------


def _filter(column: Column, call: Call) -> Column:
    found = entries(column)
    kept = found.where(_true(call(found.rows, (found.keys, found.values))))
    counts = np.bincount(kept.rows, minlength=len(column))
    return _with_objects(column, call, counts, (kept.keys, kept.values), _keep_or_null)


def _keep_or_null(values: Column, answer: Column) -> Column:
    at = np.where(_true(answer), np.arange(len(values)), -1)
    return take_column(values, at, null_at_minus_one=True)


def _map(column: Column, call: Call) -> Column:
    found = entries(column)
    values = _known(wrap(call(found.rows, (found.keys, found.values))))
    counts = np.bincount(found.rows, minlength=len(column))
    return _with_objects(column, call, counts, (found.keys, values), lambda _, out: wrap(out))


def _with_objects(
    column: Column,
    call: Call,
    counts: Offsets,
    children: tuple[Column, Column],
    single: Callable[[Column, Column], Column],
) -> Column:
    """Objects from their new entries (`counts` a row); anything else from one call of its own."""
    tag = tags(column)
    objects = np.flatnonzero(tag == TAGS[Kind.MAP])
    maps = implode(VARIANT_MAP, offsets_of(counts[objects]), children)
    others = np.flatnonzero((tag != TAGS[Kind.MAP]) & (tag != 0))
    values = take_column(column, others)
    answer = call(others, (null_column(VARIANT, len(others)), values))
    pieces = [(objects, container(maps)), (others, single(values, answer))]
    return assemble(VARIANT, len(column), [p for p in pieces if len(p[0])])


# every level ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Items:
    """What VARIANTs hold: `owner` is the value an item is in, `rows` its row of the operand,
    `keys` None in arrays."""

    kind: Kind
    containers: Offsets
    offsets: Offsets
    owner: Offsets
    rows: Offsets
    keys: Column | None
    values: Column
    paths: Column


def _items(column: Column, rows: Offsets, prefix: Column) -> list[_Items]:
    """The items of arrays, then those of maps; `prefix` is the path of each value of `column`."""
    found = []
    for group in groups(column):
        if group.kind not in (Kind.ARRAY, Kind.MAP):
            continue
        x = explode(group.values)
        owner = group.rows[x.rows]
        before = text.to_arrow(prefix).take(pa.array(owner))
        if group.kind is Kind.ARRAY:
            number = pa.array(np.arange(len(owner)) - x.offsets[x.rows] + 1).cast(pa.string())
            step = pc.binary_join_element_wise("[", number, "]", "")
            paths = pc.if_else(
                pc.is_null(before), step, pc.binary_join_element_wise(before, step, "")
            )
        else:
            # a key that is no text has no place in a path; its entry is left as it is
            words = assemble(VARCHAR, len(owner), [
                (g.rows, g.values) for g in groups(x.columns[0]) if g.kind is Kind.VARCHAR
            ])  # fmt: skip
            step = quoted_keys(words)
            paths = pc.if_else(
                pc.is_null(before), step, pc.binary_join_element_wise(before, step, ".")
            )
        keys = x.columns[0] if group.kind is Kind.MAP else None
        found.append(
            _Items(group.kind, group.rows, x.offsets, owner, rows[owner], keys, x.columns[-1],
                   text.from_arrow(paths))
        )  # fmt: skip
    return found


def _rebuilt(column: Column, pieces: list[tuple[_Items, Bools, Column]]) -> Column:
    """`column` with the items of its containers replaced: which of them stay, and those."""
    built: list[tuple[Offsets, Column]] = []
    for items, stays, values in pieces:
        offsets = offsets_of(stays.astype(np.int64))[items.offsets]
        if items.keys is None:
            made = implode(VARIANT_ARRAY, offsets, (values,))
        else:
            keys = take_column(items.keys, np.flatnonzero(stays))
            made = implode(VARIANT_MAP, offsets, (keys, values))
        built.append((items.containers, container(made)))
    leaves = np.flatnonzero(~_is_container(column) & (tags(column) != 0))
    built.append((leaves, take_column(column, leaves)))
    return assemble(VARIANT, len(column), [p for p in built if len(p[0])])


def _filtered(column: Column, rows: Offsets, prefix: Column, call: Call) -> Column:
    pieces = []
    for items in _items(column, rows, prefix):
        stays = _true(call(items.rows, (items.paths, items.values)))
        if items.paths.valid is not None:
            stays |= items.paths.valid == 0
        at = np.flatnonzero(stays)
        values = take_column(items.values, at)
        if _is_container(values).any():
            values = _filtered(values, items.rows[at], take_column(items.paths, at), call)
        pieces.append((items, stays, values))
    return _rebuilt(column, pieces)


def _mapped(column: Column, rows: Offsets, prefix: Column, call: Call) -> Column:
    pieces = []
    for items in _items(column, rows, prefix):
        inner = _is_container(items.values)
        named = np.ones(len(inner), np.bool_)
        if items.paths.valid is not None:
            named = items.paths.valid == 1
        leaf, deep = np.flatnonzero(~inner & named), np.flatnonzero(inner & named)
        rest = np.flatnonzero(~named)
        leaves = call(
            items.rows[leaf], (take_column(items.paths, leaf), take_column(items.values, leaf))
        )
        parts = [(leaf, _known(wrap(leaves))), (rest, take_column(items.values, rest))]
        if len(deep):
            nested = take_column(items.values, deep)
            parts.append(
                (deep, _mapped(nested, items.rows[deep], take_column(items.paths, deep), call))
            )
        values = assemble(VARIANT, len(inner), [p for p in parts if len(p[0])])
        pieces.append((items, np.ones(len(inner), np.bool_), values))
    return _rebuilt(column, pieces)


def _deep(
    walk: Callable[[Column, Offsets, Column, Call], Column],
    single: Callable[[Column, Column], Column],
) -> Run:
    def run(column: Column, call: Call) -> Column:
        has_items = _is_container(column)
        inner = np.flatnonzero(has_items)
        leaf = np.flatnonzero(~has_items & (tags(column) != 0))
        values = take_column(column, leaf)
        answer = call(leaf, (null_column(VARCHAR, len(leaf)), values))
        pieces = [(leaf, single(values, answer))]
        whole = take_column(column, inner)
        pieces.append((inner, walk(whole, inner, null_column(VARCHAR, len(inner)), call)))
        return assemble(VARIANT, len(column), [p for p in pieces if len(p[0])])

    return run


def _declare(name: str, key: SqlType, body: SqlType | None, run: Run) -> None:
    def resolve(operand: SqlType) -> LambdaFunction | None:
        if operand.kind is not Kind.VARIANT:
            return None
        params = (key, VARIANT)
        return LambdaFunction(name, operand, params, body, _result, lambda result: run)

    LAMBDA_FUNCTIONS[name] = resolve


_declare("VARIANT_FILTER", VARIANT, BOOLEAN, _filter)
_declare("VARIANT_MAP", VARIANT, None, _map)
_declare("VARIANT_DEEP_FILTER", VARCHAR, BOOLEAN, _deep(_filtered, _keep_or_null))
_declare("VARIANT_DEEP_MAP", VARCHAR, None, _deep(_mapped, lambda _, out: wrap(out)))
