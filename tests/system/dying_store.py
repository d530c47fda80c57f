"""The server's records, whose writer is killed between any two changes of its files.

    python -m tests.system.dying_store FOLDER EVERY

plays a life of a `Store` for n = 1, 1 + EVERY, …, kills the process before its n-th change of a
file, and has another process open it: with all that was done and at most what was being done, and
nothing beside the one file once it is closed. Prints how many points were tried and what was wrong
at each.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from penstock.manager.store import Store, Tenant
from tests.killing import in_child, is_possible, killed_at
from tests.unit.manager.test_store import record

#: names of pipelines and of keys
State = tuple[list[str], list[str]]


def acts(store: Store, tenant: Tenant) -> list[tuple[Callable[[], object], State]]:
    """What is done one after the other, and what there is then."""
    a, b = record(store, "a"), record(store, "b")
    return [
        (lambda: store.put(a), (["a"], [])),
        (lambda: store.put(b), (["a", "b"], [])),
        (lambda: store.create_key(tenant, "k", "write"), (["a", "b"], ["k"])),
        (lambda: store.put(a.changed(name="c")), (["b", "c"], ["k"])),
        (lambda: store.delete(b.id), (["c"], ["k"])),
        (lambda: store.delete_key(tenant, "k"), (["c"], [])),
    ]


def play(folder: Path) -> None:
    store = Store(folder / "data")
    for n, (act, _) in enumerate(acts(store, store.tenant("default")), 1):
        act()
        (folder / "done").write_text(str(n))
    store.close()


def check(folder: Path) -> None:
    done = folder / "done"
    n = int(done.read_text()) if done.exists() else 0
    store = Store(folder / "data")
    tenant = store.tenant("default")
    states = [([], []), *(state for _, state in acts(store, tenant))]
    found = sorted(r.name for r in store.pipelines()), [k.name for k in store.keys(tenant)]
    assert found in states[n : n + 2], f"{found} is there, {states[n]} was done"
    store.put(record(store, "later"))
    store.close()
    left = sorted(p.name for p in (folder / "data").iterdir())
    assert left == ["penstock.db"], left


def problems(where: Path, every: int) -> tuple[int, list[str]]:
    """(points tried, what was wrong)."""
    folder = where / "life"
    found: list[str] = []
    at, tried, was_killed = 1, 0, True
    while was_killed:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            was_killed = killed_at(lambda: play(folder), folder / "data", at) == at
            in_child(lambda: check(folder))
        except AssertionError as e:
            found.append(f"killed before change {at}: {e}")
        tried += was_killed
        at += every
    return tried, found


if __name__ == "__main__":
    if not is_possible():
        print(json.dumps({"points": None}))
        sys.exit()
    tried, wrong = problems(Path(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps({"points": tried, "problems": wrong}))
