"""Columns of made-up values for datagen, a chunk at a time.

    generator(type, settings) → Generate: (row numbers int64[n], random generator) → Column

Strategies: `increment` counts with the row number and wraps within `range`; `uniform` draws from
`range`; `zipf` draws ranks with probability ~ rank^-e; strings have a few more that make words
(see `words`). `values` are what the numbers then select. Times and timestamps count in ms, dates
in days, DECIMALs in units; range bounds of those may also be written as text.

Source: contract section 7.3.
Cost: 10 to 50 ns a number, about 1 µs a string.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.build import canonical_floats
from penstock.data.gather import take_column
from penstock.data.types import BINARIES, FLOATS, INTEGERS, NESTED, STRINGS, Kind, SqlType
from penstock.io.formats import flavors, scalars
from penstock.io.formats.columns import from_canonical
from penstock.io.formats.options import Options
from penstock.io.formats.scalars import Invalid
from penstock.io.inputs.nested_generators import nested_generator
from penstock.io.inputs.words import STRATEGIES as WORDS

Rows = npt.NDArray[np.int64]
Generate = Callable[[Rows, np.random.Generator], Column]
_NUMERIC = ("increment", "uniform", "zipf")

_DAY_NS = 86_400_000_000_000
_YEAR_2100_MS = 4_102_444_800_000
#: 64-bit arithmetic bounds what is generated of wider types
_WIDEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A rule for int64 numbers: where they lie and how they are chosen. `high` is exclusive."""

    strategy: str
    low: int
    high: int
    scale: float
    exponent: float

    def draw(self, rows: Rows, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        span = self.high - self.low
        if self.strategy == "uniform":
            # the inclusive form reaches the largest int64
            return rng.integers(self.low, self.high - 1, size=len(rows), endpoint=True)
        if self.strategy == "zipf":
            return self.low + _zipf(rng, len(rows), span, self.exponent)
        step = int(self.scale) or 1
        # rows × step may exceed 64 bits; the remainders do not
        small = span if span <= _WIDEST else _WIDEST
        offset = (rows % small) * (step % small) if small < (1 << 31) else rows * step
        return self.low + offset % small


def generator(type_: SqlType, o: Options) -> Generate:
    """The generator that a field's settings ask for. Raises UserError."""
    strategy = o.text("strategy", "increment").lower()
    values = o.raw("values", None)
    nulls = o.number("null_percentage", 0.0)
    if not 0 <= nulls <= 100:
        raise o.fail("null_percentage", f"must be between 0 and 100, not {nulls}")
    if nulls and not type_.nullable:
        raise o.fail("null_percentage", f"needs a nullable column, not {type_}")
    known = (*_NUMERIC, *WORDS) if type_.kind in STRINGS else _NUMERIC
    if strategy not in known:
        raise o.fail("strategy", f"must be one of {', '.join(known)}, not {strategy!r}")
    if values is not None:
        generate = _choice(type_, o, strategy, values)
    elif type_.kind in STRINGS and strategy in WORDS:
        generate = _words(type_, o, strategy)
    else:
        generate = _by_kind(type_, o, strategy)
    o.done()
    return _with_nulls(generate, nulls / 100) if nulls else generate


def _with_nulls(generate: Generate, share: float) -> Generate:
    def with_nulls(rows: Rows, rng: np.random.Generator) -> Column:
        column = generate(rows, rng)
        valid = (rng.random(len(rows)) >= share).astype(np.uint8)
        values = column.values.copy()
        values[valid == 0] = 0
        return Column(column.type, values, valid, column.heaps)

    return with_nulls


def _choice(type_: SqlType, o: Options, strategy: str, values: Any) -> Generate:
    if not isinstance(values, list) or not values:
        raise o.fail("values", "must be a non-empty array")
    read = flavors.reader(type_, flavors.FLAVORS["default"])
    try:
        column = from_canonical(type_, [None if v is None else read(v) for v in values])
    except Invalid as e:
        raise o.fail("values", f"has a value that {type_} cannot take: {e.description}") from None
    if None in values and not type_.nullable:
        raise o.fail("values", f"has a null, which {type_} cannot take")
    numbers = _numbers(o, strategy, 0, len(values), (0, len(values)), int)
    return lambda rows, rng: take_column(column, numbers.draw(rows, rng))


def _words(type_: SqlType, o: Options, strategy: str) -> Generate:
    make = WORDS[strategy]
    low, high = _range(o, 1, 4, (0, 1000), int)
    return lambda rows, rng: from_canonical(type_, make(rng, len(rows), low, high))


def _by_kind(type_: SqlType, o: Options, strategy: str) -> Generate:
    kind = type_.kind
    if kind in INTEGERS:
        low, high = scalars.INT_BOUNDS[kind]
        return _integers(type_, o, strategy, low, min(high, _WIDEST - 1) + 1)
    if kind in FLOATS:
        return _floats(type_, o, strategy)
    if kind in STRINGS:
        return _strings(type_, o, strategy)
    if kind in BINARIES:
        return _bytes(type_, o, strategy)
    if kind in NESTED:
        if kind in (Kind.ARRAY, Kind.MAP) and strategy == "zipf":
            raise o.fail("strategy", "must be increment or uniform for arrays and maps")
        is_sized = kind in (Kind.ARRAY, Kind.MAP)
        sizes = _range(o, 0, 5, (0, 1 << 20), _whole) if is_sized else (0, 0)
        return nested_generator(type_, o, strategy, sizes, generator)
    match kind:
        case Kind.BOOLEAN:
            return _integers(type_, o, strategy, 0, 2)
        case Kind.DECIMAL:
            return _decimals(type_, o, strategy)
        case Kind.UUID:
            return _uuids(type_, o, strategy)
        case Kind.DATE:
            last = _YEAR_2100_MS // 86_400_000
            return _moments(type_, o, strategy, last, 1, _day_bound)
        case Kind.TIME:
            return _moments(type_, o, strategy, _DAY_NS // 10**6, 10**6, _time_bound)
        case Kind.TIMESTAMP | Kind.TIMESTAMP_TZ:
            return _moments(type_, o, strategy, _YEAR_2100_MS, 1000, _timestamp_bound)
    raise o.fail("strategy", f"cannot generate values of type {type_} yet")


def _numbers(
    o: Options, strategy: str, low: int, high: int, bounds: tuple[int, int],
    convert: Callable[[Any], int],
) -> _Numbers:  # fmt: skip
    """Reads `range`, `scale` and `e`. `bounds`: what the type can hold, the end exclusive."""
    scale = o.number("scale", 1.0)
    exponent = o.number("e", 1.0)
    if not exponent > 0:
        raise o.fail("e", f"must be positive, not {exponent}")
    if scale != int(scale) or not scale:
        raise o.fail("scale", f"must be an integer other than 0 for this type, not {scale}")
    low, high = _range(o, low, high, bounds, convert)
    return _Numbers(strategy, low, high, scale, exponent)


def _range(
    o: Options, low: int, high: int, bounds: tuple[int, int], convert: Callable[[Any], int]
) -> tuple[int, int]:
    given = o.raw("range", None)
    if given is None:
        return low, high
    if not isinstance(given, list) or len(given) != 2:
        raise o.fail("range", f"must be an array [from, to), not {given!r}")
    try:
        low, high = (convert(v) for v in given)
    except (Invalid, TypeError, ValueError, ArithmeticError) as e:
        raise o.fail("range", f"has a bound that does not fit the type: {e}") from None
    if not low < high:
        raise o.fail("range", f"is empty: {given!r}")
    if low < bounds[0] or high > bounds[1]:
        raise o.fail("range", f"is wider than the type: {given!r}")
    return low, high


def _whole(value: Any) -> int:
    if isinstance(value, bool) or value != int(value):
        raise ValueError(f"{value!r} is not an integer")
    return int(value)


def _integers(type_: SqlType, o: Options, strategy: str, least: int, end: int) -> Generate:
    start = 0 if strategy != "uniform" else least
    numbers = _numbers(o, strategy, start, end, (least, end), _whole)
    dtype = type_.dtype
    return lambda rows, rng: Column(type_, numbers.draw(rows, rng).astype(dtype))


def _floats(type_: SqlType, o: Options, strategy: str) -> Generate:
    scale, exponent = o.number("scale", 1.0), o.number("e", 1.0)
    given = o.raw("range", None)
    largest = float(np.finfo(type_.dtype).max)
    low, high = (-largest, largest) if strategy == "uniform" else (0.0, largest)
    if given is not None:
        try:
            low, high = (float(v) for v in given)
        except (TypeError, ValueError):
            raise o.fail("range", f"must be an array of two numbers, not {given!r}") from None
        if not low < high or not math.isfinite(high) or not math.isfinite(low):
            raise o.fail("range", f"is empty or infinite: {given!r}")

    def generate(rows: Rows, rng: np.random.Generator) -> Column:
        if strategy == "uniform":
            u = rng.random(len(rows))
            numbers: npt.NDArray[Any] = low * (1 - u) + high * u
        elif strategy == "zipf":
            span = int(min(max(high - low, 1), _WIDEST))
            numbers = np.asarray(low + _zipf(rng, len(rows), span, exponent) * scale)
        else:
            numbers = low + np.mod(rows * scale, high - low)
        return Column(type_, canonical_floats(numbers.astype(type_.dtype)))

    return generate


def _decimals(type_: SqlType, o: Options, strategy: str) -> Generate:
    precision, digits = type_.precision or 38, type_.scale or 0
    bound = min(10**precision, 10**18)
    unit = 10**digits

    def convert(value: Any) -> int:
        return scalars.decimal(str(value), type_)

    scale = o.number("scale", 1.0)
    least = 1 - bound if strategy == "uniform" else 0
    low, high = _range(o, least, bound, (-bound, bound), convert)
    step = round(scale * unit)
    numbers = _Numbers(strategy, low, high, max(min(step, bound - 1), 1 - bound) or 1,
                       o.number("e", 1.0))  # fmt: skip

    def generate(rows: Rows, rng: np.random.Generator) -> Column:
        unscaled = numbers.draw(rows, rng)
        words = np.empty((len(rows), 2), np.int64)
        words[:, 0] = unscaled
        words[:, 1] = unscaled >> 63
        return Column(type_, words.view(np.uint64))

    return generate


def _moments(
    type_: SqlType, o: Options, strategy: str, end: int, unit: int, convert: Callable[[Any], int]
) -> Generate:
    """Dates (unit 1 day), times (1 ms in ns) and timestamps (1 ms in µs)."""
    widest = {Kind.DATE: (scalars.MIN_DAY, scalars.MAX_DAY + 1), Kind.TIME: (0, _DAY_NS // 10**6)}
    default = (scalars.MIN_US // 1000, scalars.MAX_US // 1000 + 1)
    numbers = _numbers(o, strategy, 0, end, widest.get(type_.kind, default), convert)
    return lambda rows, rng: Column(type_, (numbers.draw(rows, rng) * unit).astype(type_.dtype))


def _day_bound(value: Any) -> int:
    return scalars.date(value) if isinstance(value, str) else _whole(value)


def _time_bound(value: Any) -> int:
    return scalars.time(value) // 10**6 if isinstance(value, str) else _whole(value)


def _timestamp_bound(value: Any) -> int:
    return scalars.timestamp(value) // 1000 if isinstance(value, str) else _whole(value)


_LETTERS = np.frombuffer(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", np.uint8
)


def _strings(type_: SqlType, o: Options, strategy: str) -> Generate:
    if strategy != "uniform":
        numbers = _numbers(o, strategy, 0, _WIDEST, (-_WIDEST, _WIDEST), _whole)
        return lambda rows, rng: from_canonical(
            type_, list(map(str, numbers.draw(rows, rng).tolist()))
        )
    low, high = _range(o, 0, 25, (0, 1 << 20), _whole)

    def generate(rows: Rows, rng: np.random.Generator) -> Column:
        lengths = rng.integers(low, high, size=len(rows))
        text = _LETTERS[rng.integers(0, len(_LETTERS), size=int(lengths.sum()))].tobytes().decode()
        ends = np.cumsum(lengths).tolist()
        starts = [0, *ends[:-1]]
        return from_canonical(type_, [text[a:b] for a, b in zip(starts, ends, strict=True)])

    return generate


def _bytes(type_: SqlType, o: Options, strategy: str) -> Generate:
    if strategy == "zipf":
        raise o.fail("strategy", "must be increment or uniform for bytes")
    low, high = _range(o, 0, 5, (0, 1 << 20), _whole)

    def generate(rows: Rows, rng: np.random.Generator) -> Column:
        if strategy == "increment":
            lengths = low + rows % (high - low)
            return from_canonical(
                type_, [bytes([r % 256]) * n for r, n in zip(rows.tolist(), lengths, strict=True)]
            )
        lengths = rng.integers(low, high, size=len(rows))
        return from_canonical(type_, [rng.bytes(int(n)) for n in lengths])

    return generate


def _uuids(type_: SqlType, o: Options, strategy: str) -> Generate:
    if strategy == "zipf":
        raise o.fail("strategy", "must be increment or uniform for UUID")

    def generate(rows: Rows, rng: np.random.Generator) -> Column:
        raw = np.zeros((len(rows), 16), np.uint8)
        if strategy == "uniform":
            raw[:] = rng.integers(0, 256, size=(len(rows), 16), dtype=np.uint8)
            raw[:, 6] = raw[:, 6] & 0x0F | 0x40
            raw[:, 8] = raw[:, 8] & 0x3F | 0x80
        else:
            raw[:, 8:] = rows.astype(">i8").view(np.uint8).reshape(-1, 8)
        return Column(type_, raw.view(np.uint64))

    return generate


def _zipf(rng: np.random.Generator, n: int, span: int, e: float) -> npt.NDArray[np.int64]:
    """Ranks 0 … span−1 with probability ~ (rank+1)^−e; beyond 100 000 by the continuous law."""
    u = rng.random(n)
    if span <= 100_000:
        weights = np.cumsum(np.arange(1, span + 1, dtype=np.float64) ** -e)
        return np.asarray(np.searchsorted(weights, u * weights[-1], side="right"), np.int64)
    if e == 1:
        x = np.exp(u * math.log(span + 1.0))
    else:
        x = (u * ((span + 1.0) ** (1 - e) - 1) + 1) ** (1 / (1 - e))
    return np.asarray(np.clip(x.astype(np.int64) - 1, 0, span - 1))
