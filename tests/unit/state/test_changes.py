"""A stack of changes says what its arrays say, whatever was noted when and saved how often."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.batch import Column
from penstock.data.build import column_from_python, column_to_python
from penstock.data.gather import concat_columns, take_column
from penstock.data.types import VARCHAR
from penstock.state.changes import Arrays, Changes
from penstock.state.storage import StateStore
from tests.examples import examples
from tests.oracle.drive import Unsynced

TEXTS = [None, "", "short", "a string that does not fit a view"]


def texts(values: list[str | None]) -> Column:
    """A column with a mask, whether or not it needs one."""
    column = column_from_python(VARCHAR, values)
    valid = np.ones(len(values), np.uint8) if column.valid is None else column.valid
    return Column(VARCHAR, column.values, valid, column.heaps)


class Owner:
    """A number and a text per id, as long as `count`; new ones are zero and NULL."""

    def __init__(self) -> None:
        self.count = 0
        self.numbers = np.zeros((0, 2), np.int64)
        self.texts = texts([])
        self.changes = Changes(self)

    def entries(self) -> Arrays:
        return {"number": self.numbers, "text": self.texts}

    def entry_count(self) -> int:
        return self.count

    def load_entries(self, arrays: Arrays, count: int) -> None:
        numbers, texts = arrays["number"], arrays["text"]
        assert isinstance(numbers, np.ndarray) and isinstance(texts, Column)
        assert len(numbers) == len(texts) == count
        self.numbers, self.texts, self.count = numbers, texts, count

    def grow(self, by: int) -> None:
        self.numbers = np.concatenate((self.numbers, np.zeros((by, 2), np.int64)))
        self.texts = concat_columns((self.texts, texts([None] * by)))
        self.count += by

    def put(self, id: int, value: int) -> None:
        self.numbers[id] = (value, -value)
        values = column_to_python(self.texts)
        values[id] = TEXTS[value % 4]
        self.texts = texts(values)
        self.changes.note(np.array([id]))

    def contents(self) -> list[object]:
        numbers = self.numbers[: self.count].tolist()
        return list(zip(numbers, column_to_python(self.texts)[: self.count], strict=True))


deeds = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(0, 4)),
        st.tuples(st.just("put"), st.integers(0, 99)),
        st.tuples(st.sampled_from(["save", "save late", "restart", "renumber"]), st.just(0)),
    ),
    max_size=30,
)


@given(deeds)
@settings(max_examples=examples(150), deadline=None)
def test_what_is_read_back_is_what_was_captured(deeds: list[tuple[str, int]]) -> None:
    owner = Owner()
    with tempfile.TemporaryDirectory() as directory:
        store = StateStore(Path(directory), Unsynced())
        for deed, n in [*deeds, ("restart", 0)]:
            if deed == "grow":
                owner.grow(n)
            elif deed == "put" and owner.count:
                owner.put(n % owner.count, n)
            elif deed == "renumber":
                kept = np.arange(0, owner.count, 2)
                owner.numbers, owner.texts = owner.numbers[kept], take_column(owner.texts, kept)
                owner.count = len(kept)
                owner.changes.renumbered()
            elif deed == "save":
                owner.changes.capture().write(store)
            elif deed == "save late":
                owner.changes.capture()
            elif deed == "restart":
                expected, pin = owner.contents(), owner.changes.capture()
                if owner.count:
                    owner.put(0, 7)
                restored = Owner()
                restored.grow(3)
                restored.changes.restore(store, pin.write(store))
                assert restored.contents() == expected
                owner = restored
