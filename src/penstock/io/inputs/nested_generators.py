"""Made-up arrays, maps, rows and VARIANTs for datagen: settings inside settings.

    ARRAY  {"range": [2, 4], "value": {…}}                  2 or 3 elements (default: 0 to 4)
    MAP    {"range": […], "key": {…}, "value": {…}}         of equal keys the last wins
    ROW    {"fields": {"name": {…}}}                        fields without settings by default

Child j of row number r is what the child's settings give for number r + j. A VARIANT takes its
`values` only, any JSON each.

Source: contract section 7.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.nested import build_map, build_row, implode
from penstock.data.types import Kind, SqlType
from penstock.io.formats.flavors import match_keys
from penstock.io.formats.options import TRANSPORT_ERROR, Options

Rows = npt.NDArray[np.int64]
Generate = Callable[[Rows, np.random.Generator], Column]
#: the generator of a child from its type and settings
MakeChild = Callable[[SqlType, Options], Generate]


def nested_generator(
    type_: SqlType, o: Options, strategy: str, sizes: tuple[int, int], child: MakeChild
) -> Generate:
    """The generator of a nested type; `sizes`: how many children a value has, the end exclusive.
    Raises UserError."""
    if type_.kind is Kind.ROW:
        return _rows(type_, o, child)
    if type_.kind is Kind.VARIANT:
        raise o.fail("values", "is needed for a VARIANT: an array of JSON values to choose from")
    low, high = sizes
    names = ("key", "value") if type_.kind is Kind.MAP else ("value",)
    makes = [
        _child(t, f"{o.owner}, {name}", o.raw(name, None), child)
        for t, name in zip(type_.children, names, strict=True)
    ]

    def generate(rows: Rows, rng: np.random.Generator) -> Column:
        if strategy == "uniform":
            lengths = rng.integers(low, high, size=len(rows))
        else:
            lengths = low + rows % (high - low)
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        inside = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], lengths)
        columns = [make(np.repeat(rows, lengths) + inside, rng) for make in makes]
        if type_.kind is Kind.MAP:
            return build_map(type_, offsets, columns[0], columns[1])
        return implode(type_, offsets, columns)

    return generate


def _rows(type_: SqlType, o: Options, child: MakeChild) -> Generate:
    fields = o.raw("fields", {})
    if not isinstance(fields, Mapping):
        raise o.fail("fields", f"must be an object of fields, not {fields!r}")
    found = match_keys(tuple(fields), type_.names)
    unknown = sorted(set(fields) - set(found))
    if unknown:
        raise o.fail("fields", f"names '{unknown[0]}'; the fields are {', '.join(type_.names)}")
    makes = [
        _child(t, f"{o.owner}, field '{name}'", None if key is None else fields[key], child)
        for t, name, key in zip(type_.children, type_.names, found, strict=True)
    ]
    return lambda rows, rng: build_row(type_, [make(rows, rng) for make in makes])


def _child(type_: SqlType, owner: str, settings: Any, child: MakeChild) -> Generate:
    return child(type_, Options.of(owner, TRANSPORT_ERROR, settings))
