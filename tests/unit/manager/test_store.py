"""Records, keys and logs as they are kept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import Conflict, NotFound, TransientError
from penstock.manager import logs
from penstock.manager.deployments import Deployments
from penstock.manager.edits import create, parse_whole_definition
from penstock.manager.logs import LogBuffer
from penstock.manager.records import PipelineRecord
from penstock.manager.roster import Roster
from penstock.manager.store import Store
from penstock.manager.workers import WorkerPool
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


def fill(store: Store, pages: int | None) -> None:
    """Let the file grow to so many pages, and no more; None: to what it has now."""
    if pages is None:
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")


def test_what_a_full_disk_refuses_is_accepted_once_there_is_room(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = record(store, "a").changed(program_code="x" * 100_000)
    fill(store, None)
    for _ in range(2):
        with pytest.raises(TransientError) as refused:
            store.put(first)
        assert "penstock.db cannot be written: database or disk is full" in str(refused.value)
    assert store.pipelines() == []
    fill(store, 10_000)
    store.put(first)
    assert store.pipelines() == [first]
    store.close()


def test_what_has_become_of_a_pipeline_is_known_though_the_disk_is_full(tmp_path: Path) -> None:
    store = Store(tmp_path)
    roster = Roster(store)
    first, second = record(store, "a"), record(store, "b")
    roster.add(first)
    roster.add(second)
    fill(store, None)
    error = {"message": "x" * 100_000, "error_code": "E", "details": None}
    failed = roster.change(first, resources_status="Stopping", deployment_error=error)
    failed = roster.change(failed, resources_status="Stopped")
    assert roster[first.id] == failed and len(roster.events_of(first)) == 3
    (told,) = [t for t in roster.log_of(first).tail().lines if "not on disk" in t]
    assert "database or disk is full" in told
    with pytest.raises(TransientError):
        roster.put(second.changed(program_code="y" * 100_000))
    assert roster[second.id] == second

    fill(store, 10_000)
    second = roster.change(second, program_status="Success")
    assert store.pipelines() == [failed, second]
    store.close()


def test_a_start_without_a_place_for_its_storage_ends_stopped_and_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    roster = Roster(store)
    wanted = record(store, "a").changed(program_status="Success", resources_desired="Provisioned")
    roster.add(wanted)
    (tmp_path / "pipelines").write_text("no folder")
    pool = WorkerPool(("false",))
    pool.close()
    deployments = Deployments(
        roster,
        pool,
        storage_of=lambda r: tmp_path / "pipelines" / r.id,
        udf_of=lambda r: "",
    )
    deployments.deploy_if_wanted(wanted)
    found = roster[wanted.id]
    assert (found.resources_status, found.resources_desired) == ("Stopped", "Stopped")
    assert found.deployment_error["error_code"] == "StorageError"
    assert str(tmp_path / "pipelines") in found.deployment_error["message"]
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
