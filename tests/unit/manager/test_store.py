"""Records, keys and logs as they are kept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import Conflict, NotFound
from penstock.manager import logs
from penstock.manager.edits import create, parse_whole_definition
from penstock.manager.logs import LogBuffer
from penstock.manager.records import PipelineRecord
from penstock.manager.store import Store
from tests.examples import examples


def record(store: Store, name: str, tenant: str = "default") -> PipelineRecord:
    definition = parse_whole_definition({"name": name, "program_code": ""})
    return create(definition, store.tenant(tenant).id, "0")


def test_records_come_back_in_the_order_of_their_creation(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = [record(store, f"p{i}") for i in range(20)]
    for r in reversed(made):
        store.put(r)
    store.close()
    again = Store(tmp_path)
    assert again.pipelines() == made
    again.close()


def test_names_are_unique_within_a_tenant_only_also_when_renaming(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = record(store, "a"), record(store, "b")
    store.put(first)
    store.put(second)
    store.put(record(store, "a", tenant="other"))
    with pytest.raises(Conflict) as refused:
        store.put(second.changed(name="a"))
    assert refused.value.code == "DuplicateName"
    assert sorted(r.name for r in store.pipelines()) == ["a", "a", "b"]
    store.close()


def test_a_key_is_found_by_its_secret_until_it_is_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tenant = store.tenant("default")
    key, secret = store.create_key(tenant, "k", "write")
    assert store.find_key(secret) == key
    assert store.find_key(secret[:-1]) is None and store.find_key("") is None
    with pytest.raises(Conflict):
        store.create_key(tenant, "k", "read")
    with pytest.raises(NotFound):
        store.delete_key(store.tenant("other"), "k")
    store.delete_key(tenant, "k")
    assert store.find_key(secret) is None
    store.close()


def test_a_key_made_by_another_process_counts_at_once(tmp_path: Path) -> None:
    server, command = Store(tmp_path), Store(tmp_path)
    _, secret = command.create_key(command.tenant("default"), "k", "read")
    found = server.find_key(secret)
    assert found is not None and found.role == "read"
    server.close()
    command.close()


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.integers(1, 30), max_size=12), st.integers(0, 60))
def test_a_reader_gets_every_line_once_or_is_told_how_many_it_missed(
    bursts: list[int], position: int
) -> None:
    kept, logs_max = 40, logs.MAX_LINES
    logs.MAX_LINES = kept
    try:
        log, written = LogBuffer(), 0
        for burst in bursts:
            for _ in range(burst):
                written += 1
                log.append(str(written))
        position = min(position, written)
        tail = log.tail(position)
    finally:
        logs.MAX_LINES = logs_max
    expected = [str(n) for n in range(max(position, written - kept) + 1, written + 1)]
    assert list(tail.lines) == expected
    assert tail.before == position + tail.gap
    assert tail.gap == max(0, written - kept - position)


def test_followers_are_called_until_they_leave() -> None:
    log, heard = LogBuffer(), threading.Event()
    leave = log.listen(heard.set)
    log.append("a")
    assert heard.is_set()
    heard.clear()
    leave()
    log.append("b")
    assert not heard.is_set()
    log.close()
    assert log.tail().is_closed
