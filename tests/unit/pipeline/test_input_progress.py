"""What an input endpoint says of its progress is what the circuit contains."""

from __future__ import annotations

import numpy as np

from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows
from penstock.data.types import INTEGER, schema
from penstock.io.contracts import Parsed
from penstock.pipeline.inputs import InputEndpoint, InputProgress

TABLE = schema(id=INTEGER)


def endpoint() -> InputEndpoint:
    return InputEndpoint(
        name="t.in",
        relation="t",
        config={},
        max_queued_records=1000,
        is_running=lambda: True,
        wake=lambda: None,
    )


def parsed(*sizes: int) -> Parsed:
    def batch(n: int) -> InputBatch:
        rows = batch_from_rows(TABLE, [(i,) for i in range(n)])
        return InputBatch(TABLE, rows.columns, np.full(n, INSERT, np.uint8))

    return Parsed(tuple(batch(n) for n in sizes))


def test_a_position_counts_once_its_rows_went_through_the_circuit() -> None:
    e = endpoint()
    e.push(parsed(3), 30, position={"at": 3})
    e.push(parsed(2), 20, position={"at": 5})
    assert len(e.take(3)) == 1
    assert (e.taken, e.stepped) == (InputProgress(3, 30, {"at": 3}), InputProgress())
    e.mark(7, e.taken)
    assert e.stepped == InputProgress(3, 30, {"at": 3})
    e.take(100)
    e.mark(8, e.taken)
    assert e.stepped == InputProgress(5, 50, {"at": 5})


def test_a_push_is_never_divided_between_two_steps() -> None:
    e = endpoint()
    e.push(parsed(3, 3, 3), 9, position={"at": 9})
    assert sum(map(len, e.take(4))) == 9


def test_progress_without_rows_is_kept_with_its_neighbour() -> None:
    e = endpoint()
    e.push(parsed(2), 2, position={"at": 2})
    for at in range(3, 100):
        e.push(Parsed(()), 1, position={"at": at})
    e.push(Parsed(()), 1)
    e.end_of_input()
    assert sum(map(len, e.take(1))) == 2
    assert e.taken == InputProgress(2, 100, {"at": 99}, is_at_end=True)


def test_a_restored_endpoint_goes_on_counting_and_knows_old_tokens_are_done() -> None:
    e = endpoint()
    e.restore(InputProgress(10, 100, {"at": 10}), step=4)
    assert (e.total_records, e.step_of(10), e.step_of(3)) == (10, 4, 4)
    e.push(parsed(1), 1, position={"at": 11})
    assert e.step_of(11) is None
    e.take(10)
    e.mark(5, e.taken)
    assert (e.step_of(11), e.stepped.records) == (5, 11)
