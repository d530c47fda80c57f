"""The journal gives back what was appended, whatever a crash or a bad disk left of it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.batch import DELETE, INSERT, UPDATE, Batch, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import BOOLEAN, DOUBLE, INTEGER, VARCHAR, decimal, schema
from penstock.errors import CorruptState
from penstock.pipeline.digest import schema_hash
from penstock.pipeline.frames import decode_delta, decode_input, encode_delta, encode_input
from penstock.pipeline.inputs import InputProgress
from penstock.pipeline.journal import Journal, JournalledInput, JournalRecord
from tests.examples import examples

TABLE = schema(id=INTEGER, text=VARCHAR, d=DOUBLE, b=BOOLEAN, n=decimal(20, 3))
HASH = schema_hash(TABLE)
ROW = st.tuples(
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.text(st.characters(codec="utf-8"), max_size=40),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.booleans(),
    st.none() | st.decimals(-(10**15), 10**15, places=3, allow_nan=False),
)


def input_batch(rows: list[Any], seed: int = 0) -> InputBatch:
    rng = np.random.default_rng(seed)
    columns = batch_from_rows(TABLE, rows).columns
    ops = rng.choice([INSERT, DELETE, UPDATE], len(rows)).astype(np.uint8)
    present = tuple(
        rng.integers(0, 2, len(rows)).astype(np.uint8) if c % 2 else None for c in range(5)
    )
    return InputBatch(TABLE, columns, ops, present if seed % 2 else ())


def contents(batch: InputBatch) -> Any:
    rows = batch_to_rows(Batch(TABLE, batch.columns, np.ones(len(batch), np.int64)))
    present = [None if p is None else p.tolist() for p in batch.present]
    return rows, batch.ops.tolist(), present


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(ROW, max_size=20), st.integers(0, 100))
def test_rows_survive_as_bytes(rows: list[Any], seed: int) -> None:
    batch = input_batch(rows, seed)
    assert contents(decode_input(encode_input(batch), TABLE)) == contents(batch)
    delta = batch_from_rows(TABLE, rows)
    again = decode_delta(encode_delta(delta), TABLE)
    assert batch_to_rows(again) == batch_to_rows(delta)
    assert again.consolidated == delta.consolidated


def record(step: int | None, *values: int, transaction: int = 0) -> JournalRecord:
    batch = input_batch([(v, f"a longer text for row {v}", 0.5, True, None) for v in values])
    progress = InputProgress(len(values), 10, {"at": step}, is_at_end=False)
    given_ = JournalledInput("t.in", "t", None, HASH, progress, (batch,) if values else ())
    return JournalRecord(step, transaction, (given_,))


def summary(records: Any) -> list[Any]:
    return [
        (r.step, r.transaction, [contents(b) for i in r.inputs for b in i.batches]) for r in records
    ]


SCHEMAS = {"t": TABLE}


def test_records_come_back_in_order_from_any_step_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    written = [record(s, *range(s)) for s in range(1, 8)]
    for r in written:
        if r.step in (1, 4, 6):
            journal.begin_segment(r.step)
        journal.append(r)
    journal.close()
    for after in range(8):
        assert summary(Journal(tmp_path).records(after, SCHEMAS)) == summary(written[after:])


def test_what_an_open_transaction_took_comes_before_its_step_or_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin_segment(1)
    written = [record(1, 1), record(None, 2, transaction=1), record(2, 3, transaction=1)]
    open_ = [record(None, 4, transaction=2), record(None, 5, transaction=2)]
    for r in written + open_:
        journal.append(r)
    assert summary(journal.records(1, SCHEMAS)) == summary(written[1:] + open_)
    assert summary(journal.records(2, SCHEMAS)) == summary(open_)
    # the restarted pipeline goes on in a segment of its own and commits there
    journal.begin_segment(3)
    last = record(3, 6, transaction=2)
    journal.append(last)
    assert summary(journal.records(2, SCHEMAS)) == summary([*open_, last])
    assert summary(journal.records(3, SCHEMAS)) == []


def test_an_append_that_a_crash_cut_short_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin_segment(1)
    journal.append(record(1, 1))
    (path,) = tmp_path.iterdir()
    whole = path.stat().st_size
    journal.append(record(2, 2))
    journal.close()
    data = path.read_bytes()
    for length in random.Random(1).sample(range(whole, len(data)), 30):
        path.write_bytes(data[:length])
        assert [r.step for r in Journal(tmp_path).records(0, SCHEMAS)] == [1]
    # and the next life goes on behind the last whole record
    journal = Journal(tmp_path)
    journal.begin_segment(2)
    journal.append(record(2, 7))
    assert summary(journal.records(0, SCHEMAS)) == summary([record(1, 1), record(2, 7)])


def test_a_segment_that_is_begun_again_loses_its_torn_end_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin_segment(1)
    journal.append(record(None, 1, transaction=1))
    journal.close()
    (path,) = tmp_path.iterdir()
    with path.open("ab") as f:
        f.write(b"PJNLtorn")
    journal = Journal(tmp_path)
    journal.begin_segment(1)
    journal.append(record(1, 2, transaction=1))
    assert [r.step for r in journal.records(0, SCHEMAS)] == [None, 1]


def test_damage_in_the_middle_is_refused_and_never_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin_segment(1)
    for s in (1, 2, 3):
        journal.append(record(s, s))
    journal.close()
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    last = data.rindex(b"PJNL")
    for at in random.Random(2).sample(range(last), 40):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with pytest.raises(CorruptState, match="damaged"):
            list(Journal(tmp_path).records(0, SCHEMAS))


def test_a_missing_segment_is_noticed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for s in (1, 2, 3):
        journal.begin_segment(s)
        journal.append(record(s, s))
    journal.close()
    sorted(tmp_path.iterdir())[1].unlink()
    with pytest.raises(CorruptState, match="step 3 follows step 1"):
        list(Journal(tmp_path).records(0, SCHEMAS))


def test_pruning_keeps_what_a_recovery_from_that_step_reads(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for s in range(1, 10):
        if s % 3 == 1:
            journal.begin_segment(s)
        journal.append(record(s, s))
    journal.prune(6)
    assert [r.step for r in journal.records(6, SCHEMAS)] == [7, 8, 9]
    assert len(list(tmp_path.iterdir())) == 2
    journal.prune(9)
    assert [r.step for r in journal.records(9, SCHEMAS)] == []


def test_the_input_of_a_table_that_is_another_now_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin_segment(1)
    journal.append(record(1, 1))
    (found,) = journal.records(0, {"t": schema(id=INTEGER)})
    assert [i.batches for i in found.inputs] == [()]
