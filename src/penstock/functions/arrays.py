"""Functions on arrays (sql-reference 2.11), each on the exploded children of a whole column.

    ARRAY[…]  a[i]  a[SAFE_OFFSET(i)]       "ARRAY", "[]", "[SAFE_OFFSET]" in the table
    CARDINALITY …  ARRAY_APPEND …           NULL rules as listed there; sets come sorted
    SEQUENCE  SPLIT  ARRAY_JOIN             from and to other types

An argument that stands for an element must have the element type, or one that widens to it; one
that is added may be any number, and the array widens.
Decided here, where the reference is silent: ARRAY_CONTAINS, ARRAY_POSITION and ARRAY_REMOVE are
NULL for a NULL element; ARRAY_INSERT at -1 appends; arrays of more than 10^8 elements fail.

Not here: functions with a lambda (`penstock.compile.lambdas`), sets (`array_sets`), maps (`maps`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Array, Column
from penstock.data.build import null_column
from penstock.data.gather import concat_columns, spread, take_column
from penstock.data.nested import Exploded, explode, implode, lengths
from penstock.data.types import (
    BIGINT,
    BINARIES,
    BOOLEAN,
    INTEGER,
    INTEGERS,
    NUMBERS,
    STRINGS,
    VARCHAR,
    Kind,
    SqlType,
    array_of,
)
from penstock.functions import text
from penstock.functions.casts import cast_kernel
from penstock.functions.coercion import can_cast, common_integer, common_type
from penstock.functions.definition import (
    Literals,
    Overload,
    Types,
    define,
    define_typed,
    fail_where,
)
from penstock.functions.distinct import numbered
from penstock.functions.nested_casts import same_bytes
from penstock.functions.params import STRING
from penstock.functions.ragged import aligned, joined, kept, matches, offsets_of, ragged

MAX_ELEMENTS = 100_000_000
Valid = Array | None


def is_array(t: SqlType) -> bool:
    return t.kind is Kind.ARRAY


def element_argument(array: SqlType, given: SqlType, widen: bool = False) -> SqlType | None:
    """The element type of `array` if `given` is that, or widens to it. Decimals meet in the
    one that holds both, so do texts and binaries, and with `widen` all numbers do."""
    element = array.children[0]
    if element.kind is Kind.NULL:
        return given
    if given.kind is not Kind.NULL and (given.kind in STRINGS) != (element.kind in STRINGS):
        return None  # no reading of text as numbers here
    common = common_type([element, given])
    if common is None:
        return None
    numbers = NUMBERS if widen else {Kind.DECIMAL}
    if element.kind in numbers and given.kind in numbers:
        return common.with_nullable(element.nullable)
    if element.kind in STRINGS | BINARIES:  # cut to the element's length it would be another value
        return common.with_nullable(element.nullable)
    return element if same_bytes(common, element) else None


def with_element(
    array: SqlType, given: SqlType, widen: bool = False
) -> tuple[SqlType, SqlType] | None:
    """(array type, element type) that ARRAY_APPEND and the like work on."""
    element = element_argument(array, given, widen)
    return None if element is None else (array_of(element), element)


def both_valid(args: Sequence[Column]) -> Valid:
    """Valid where all arguments are; all have the same number of rows."""
    valid: Valid = None
    for a in args:
        if a.valid is not None:
            valid = a.valid if valid is None else valid & a.valid
    return valid


# making arrays -------------------------------------------------------------------------------


@define_typed("ARRAY", "ARRAY[value, …]")
def array(types: Types, literals: Literals) -> Overload | None:
    element = common_type(types) if types else SqlType(Kind.NULL)
    if element is None:
        return None
    type = array_of(element)

    def kernel(args: Sequence[Column], n: int) -> Column:
        if not args:
            return Column(type, np.zeros((1, 2), np.uint64))
        columns = aligned(args)
        rows, k = len(columns[0]), len(columns)
        order = np.arange(rows * k).reshape(k, rows).T.reshape(-1)
        child = take_column(concat_columns(columns), np.ascontiguousarray(order))
        return implode(type, np.arange(rows + 1) * k, (child,))

    return Overload((element,) * len(types), type, kernel, strict=False, nullable=False)


@define_typed("SEQUENCE", "SEQUENCE(integer, integer)")
def sequence(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 2 or not all(t.kind in INTEGERS for t in types):
        return None
    element = common_integer(*types).with_nullable(True)
    type = array_of(element)

    def kernel(args: Sequence[Column], n: int) -> Column:
        low, high = aligned(args)
        valid = both_valid((low, high))
        counts = np.maximum(high.values.astype(np.float64) - low.values + 1, 0)
        fail_where(counts > MAX_ELEMENTS, (low, high), _TOO_LONG)
        start, end = low.values.astype(np.int64), high.values.astype(np.int64)  # modulo 2**64
        counts = np.where(high.values < low.values, 0, end - start + 1)
        counts = counts if valid is None else counts * valid
        values = np.repeat(start, counts) + ragged(np.zeros_like(counts), counts)
        return implode(type, offsets_of(counts), (Column(element, values.astype(element.dtype)),))

    return Overload((element, element), type, kernel, can_fail=True)


_TOO_LONG = f"an array of more than {MAX_ELEMENTS} elements"


@define_typed("ARRAY_REPEAT", "ARRAY_REPEAT(value, integer)")
def array_repeat(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 2 or types[1].kind not in INTEGERS | {Kind.NULL}:
        return None
    type = array_of(types[0])

    def kernel(args: Sequence[Column], n: int) -> Column:
        value, times = aligned(args)
        counts = np.maximum(times.values, 0).astype(np.int64)
        fail_where(counts > MAX_ELEMENTS, (times,), _TOO_LONG)
        child = take_column(value, np.repeat(np.arange(len(value)), counts))
        return implode(type, offsets_of(counts), (child,), times.valid)

    result = (types[0], BIGINT)
    nullable = types[1].nullable
    return Overload(result, type, kernel, can_fail=True, strict=False, nullable=nullable)


@define("SPLIT", [STRING], array_of(VARCHAR))
def split(s: Column, n: int) -> Column:
    return _split(s, ",")


@define("SPLIT", [STRING, STRING], array_of(VARCHAR))
def split_by(s: Column, delimiter: Column, n: int) -> Column:
    if len(delimiter) == 1:
        return _split(s, text.to_list(delimiter)[0] or "")
    s, delimiter = aligned((s, delimiter))
    where, found = numbered(delimiter)
    used = np.unique(where).tolist()  # one call a delimiter, not a row
    rows = [np.flatnonzero(where == i) for i in used]
    parts = [_split(take_column(s, r), found[i] or "") for r, i in zip(rows, used, strict=True)]
    order = np.argsort(np.concatenate(rows), kind="stable")
    return take_column(concat_columns(parts), order)


def _split(s: Column, delimiter: str) -> Column:
    """An empty delimiter gives the whole string; an empty string gives nothing."""
    strings = text.to_arrow(s).fill_null("")
    pieces = (
        pc.split_pattern(strings, delimiter) if delimiter else pc.split_pattern(strings, "\0\0")
    )
    if not delimiter:
        pieces = pa.ListArray.from_arrays(
            pa.array(np.arange(len(strings) + 1), pa.int32()), strings
        )
    starts = pieces.offsets.to_numpy()[:-1].astype(np.int64)
    counts = np.diff(pieces.offsets.to_numpy()).astype(np.int64)
    counts[pc.equal(pc.binary_length(strings), 0).to_numpy(zero_copy_only=False)] = 0
    child = take_column(text.from_arrow(pieces.values), ragged(starts, counts))
    return implode(array_of(VARCHAR), offsets_of(counts), (child,))


# looking into arrays -------------------------------------------------------------------------


@define_typed(["CARDINALITY", "ARRAY_LENGTH", "ARRAY_SIZE"], "{}(array)", "CARDINALITY(map)")
def cardinality(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 1 or types[0].kind not in (Kind.ARRAY, Kind.MAP):
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        return Column(INTEGER, lengths(args[0]).astype(np.int32))

    return Overload(types, INTEGER, kernel)


def picked(exploded: Exploded, at: Array, child: int = 0) -> Column:
    """Child `at[i]` (from 0) of every value, NULL outside."""
    inside = (at >= 0) & (at < exploded.lengths)
    positions = np.where(inside, exploded.offsets[:-1] + at, -1)
    return take_column(exploded.columns[child], positions, null_at_minus_one=True)


def _indexed(base: int) -> Callable[[Types, Literals], Overload | None]:
    def resolver(types: Types, literals: Literals) -> Overload | None:
        if len(types) != 2 or not is_array(types[0]) or types[1].kind not in INTEGERS | {Kind.NULL}:
            return None

        def kernel(args: Sequence[Column], n: int) -> Column:
            a, index = aligned(args)
            return picked(explode(a), index.values - base)

        return Overload((types[0], BIGINT), types[0].children[0], kernel, nullable=True)

    return resolver


define_typed("[]", "array[integer]")(_indexed(1))
define_typed("[SAFE_OFFSET]", "array[SAFE_OFFSET(integer)]")(_indexed(0))


@define_typed("ELEMENT", "ELEMENT(array)")
def element(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 1 or not is_array(types[0]):
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        exploded = explode(args[0])
        fail_where(exploded.lengths > 1, args, "ELEMENT of an array of several elements")
        return picked(exploded, np.zeros(len(args[0]), np.int64))

    return Overload(types, types[0].children[0], kernel, can_fail=True, nullable=True)


def _with_element(name: str, result: SqlType, compute: Callable[[Exploded, Array], Array]) -> None:
    """A strict function of an array and an element it may contain."""

    @define_typed(name, f"{name}(array, element)")
    def resolver(types: Types, literals: Literals) -> Overload | None:
        if len(types) != 2 or not is_array(types[0]):
            return None
        wanted = with_element(*types)
        if wanted is None:
            return None

        def kernel(args: Sequence[Column], n: int) -> Column:
            a, e = aligned(args)
            exploded = explode(a)
            return Column(result, compute(exploded, matches(exploded, e)))

        return Overload(wanted, result, kernel)


def _contains(exploded: Exploded, hit: Array) -> Array:
    counts = offsets_of(hit.astype(np.int64))[exploded.offsets]
    return (np.diff(counts) > 0).view(np.uint8)


def _position(exploded: Exploded, hit: Array) -> Array:
    at = np.flatnonzero(hit)
    rows = exploded.rows[at]
    out = np.zeros(len(exploded.lengths), np.int64)
    # the first match is written last
    out[rows[::-1]] = (at - exploded.offsets[rows] + 1)[::-1]
    return out


_with_element("ARRAY_CONTAINS", BOOLEAN, _contains)
_with_element("ARRAY_POSITION", BIGINT, _position)


@define_typed("ARRAY_REMOVE", "ARRAY_REMOVE(array, element)")
def array_remove(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 2 or not is_array(types[0]):
        return None
    wanted = with_element(*types)
    if wanted is None:
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        a, e = aligned(args)
        exploded = explode(a)
        left = kept(exploded, ~matches(exploded, e))
        return implode(wanted[0], left.offsets, left.columns)

    return Overload(wanted, wanted[0], kernel)


# longer and shorter arrays -------------------------------------------------------------------


def _adding(name: str, before: bool) -> None:
    @define_typed(name, f"{name}(array, element)")
    def resolver(types: Types, literals: Literals) -> Overload | None:
        if len(types) != 2 or not is_array(types[0]):
            return None
        wanted = with_element(*types, widen=True)
        if wanted is None:
            return None

        def kernel(args: Sequence[Column], n: int) -> Column:
            a, e = aligned(args)
            x = explode(a)
            own = (x.columns[0], x.offsets[:-1], x.lengths)
            new = (e, np.arange(len(e)), np.ones(len(e), np.int64))
            offsets, child = joined((new, own) if before else (own, new))
            return implode(wanted[0], offsets, (child,), a.valid)

        return Overload(wanted, wanted[0], kernel, strict=False, nullable=types[0].nullable)


_adding("ARRAY_APPEND", before=False)
_adding("ARRAY_PREPEND", before=True)


@define_typed("ARRAY_CONCAT", "ARRAY_CONCAT(array, …)")
def array_concat(types: Types, literals: Literals) -> Overload | None:
    common = common_type(types) if types else None
    if common is None or not is_array(common):
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        parts = [explode(a) for a in aligned(args)]
        pieces = [(x.columns[0], x.offsets[:-1], x.lengths) for x in parts]
        offsets, child = joined(pieces)
        return implode(common, offsets, (child,))

    return Overload((common,) * len(types), common, kernel)


@define_typed("ARRAY_INSERT", "ARRAY_INSERT(array, position, element)")
def array_insert(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 3 or not is_array(types[0]) or types[1].kind not in INTEGERS | {Kind.NULL}:
        return None
    wanted = with_element(types[0], types[2], widen=True)
    if wanted is None:
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        a, position, e = aligned(args)
        x = explode(a)
        size, at = x.lengths, position.values
        fail_where(at == 0, (a, position), "ARRAY_INSERT at position 0; positions begin at 1")
        far = (at > MAX_ELEMENTS) | (at < -MAX_ELEMENTS)  # not np.abs: the least BIGINT has none
        fail_where(far, (a, position), _TOO_LONG)
        valid = both_valid((a, position))
        # under NULL any position will do that is one
        at = np.clip(at, -MAX_ELEMENTS, MAX_ELEMENTS) if valid is None else np.where(valid, at, 1)
        # elements in front of the new one, NULLs in front of it, NULLs behind it
        front = np.where(at > 0, np.minimum(at - 1, size), np.maximum(size + 1 + at, 0))
        gap = np.where(at > 0, np.maximum(at - 1 - size, 0), 0)
        tail_gap = np.where(at < 0, np.maximum(-at - 1 - size, 0), 0)
        nothing = null_column(e.type, int(max(gap.max(initial=0), tail_gap.max(initial=0))))
        zero = np.zeros_like(size)
        child = x.columns[0]
        offsets, out = joined(
            (
                (child, x.offsets[:-1], front),
                (nothing, zero, gap),
                (e, np.arange(len(e)), np.ones_like(size)),
                (nothing, zero, tail_gap),
                (child, x.offsets[:-1] + front, size - front),
            )
        )
        return implode(wanted[0], offsets, (out,), valid)

    nullable = types[0].nullable or types[1].nullable
    params = (wanted[0], BIGINT, wanted[1])
    return Overload(params, wanted[0], kernel, can_fail=True, strict=False, nullable=nullable)


def _rearranging(name: str, compute: Callable[[Exploded], Exploded], *, doc: str = "array") -> None:
    @define_typed(name, f"{name}({doc})")
    def resolver(types: Types, literals: Literals) -> Overload | None:
        if len(types) != 1 or not is_array(types[0]):
            return None

        def kernel(args: Sequence[Column], n: int) -> Column:
            out = compute(explode(args[0]))
            return implode(types[0], out.offsets, out.columns)

        return Overload(types, types[0], kernel)


def _compact(x: Exploded) -> Exploded:
    valid = x.columns[0].valid
    return x if valid is None else kept(x, valid == 1)


def _reverse(x: Exploded) -> Exploded:
    last = np.repeat(x.offsets[1:] + x.offsets[:-1] - 1, x.lengths)
    order = last - np.arange(len(last))
    return Exploded(x.offsets, (take_column(x.columns[0], order),))


_rearranging("ARRAY_COMPACT", _compact)
_rearranging("ARRAY_REVERSE", _reverse)


# to text -------------------------------------------------------------------------------------


@define_typed(["ARRAY_JOIN", "ARRAY_TO_STRING"], "{}(array, separator[, text for NULL])")
def array_join(types: Types, literals: Literals) -> Overload | None:
    if len(types) not in (2, 3) or not is_array(types[0]):
        return None
    if not can_cast(types[0].children[0], VARCHAR, explicit=True):
        return None
    if any(STRING.accept(t) is None for t in types[1:]):
        return None
    spell = cast_kernel(types[0].children[0], VARCHAR)

    def kernel(args: Sequence[Column], n: int) -> Column:
        a, separator, *rest = aligned(args)
        x = explode(a)
        words = _masked_text(spell, x.columns[0])
        if rest:
            stand_in = pc.take(text.to_arrow(rest[0]), pa.array(x.rows))
            words = pc.coalesce(words, stand_in)
        present = pc.is_valid(words).to_numpy(zero_copy_only=False)
        counts = offsets_of(present.astype(np.int64))[x.offsets]
        lists = pa.ListArray.from_arrays(pa.array(counts, pa.int32()), words.drop_null())
        out = text.from_arrow(pc.binary_join(lists, text.to_arrow(separator)))
        return Column(VARCHAR, out.values, both_valid((a, separator)), out.heaps)

    wanted = (types[0], *(VARCHAR for _ in types[1:]))
    nullable = types[0].nullable or types[1].nullable
    return Overload(wanted, VARCHAR, kernel, strict=False, nullable=nullable)


def _masked_text(spell: Callable[..., Column], child: Column) -> pa.Array:
    if child.type.kind is Kind.NULL or not len(child):
        return pa.nulls(len(child), pa.utf8())
    out = spread(spell((child,), len(child)), len(child))
    return text.to_arrow(Column(VARCHAR, out.values, child.valid, out.heaps))
