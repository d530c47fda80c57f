"""What every sink that keeps rows must do (`io.contracts.Sink`, spec/reset.md sections 2 and 3).

The suite runs once per entry of `targets.TARGETS`.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.consolidate import consolidate
from penstock.errors import UserError
from penstock.io.contracts import Marker, Sink, SinkRejected, SinkUnavailable, StagingLost
from tests.contract.target import SCHEMA, Rows, Target
from tests.contract.targets import TARGETS


def _param(name: str) -> Any:
    marks = [pytest.mark.slow] if TARGETS[name].is_slow else []
    return pytest.param(name, marks=marks)


@pytest.fixture(params=map(_param, TARGETS))
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    kind = TARGETS[request.param]
    where: Any = request.getfixturevalue(kind.server) if kind.server else tmp_path
    yield kind(where)


def row(k: int, v: str | None = "a") -> tuple[Any, ...]:
    return (k, v, f"{k}.50", "2024-02-29", k % 2, k / 4)


def rows(*ks: int, v: str | None = "a") -> Rows:
    return Counter(row(k, v) for k in ks)


def batch(*parts: tuple[Rows, int]) -> Batch:
    """Rows with the sign of their part, as the engine hands them over: consolidated."""
    import datetime

    flat = [
        ((*r[:3], None if r[3] is None else datetime.date.fromisoformat(r[3]), *r[4:]), n * sign)
        for counted, sign in parts
        for r, n in counted.items()
    ]
    return consolidate(batch_from_rows(SCHEMA, [r for r, _ in flat], [w for _, w in flat]))


def marker(generation: int, step: int, count: int, **changes: Any) -> Marker:
    fields: dict[str, Any] = {
        "pipeline_id": "11111111-1111-1111-1111-111111111111",
        "view": "m",
        "connector": "c",
        "generation": generation,
        "token": f"token-{generation}",
        "phase": "following",
        "step": step,
        "rows": count,
        "schema_hash": "abc",
        "digest": 2**64 - 3,
    }
    return Marker(**(fields | changes))


def reset(sink: Sink, contents: Rows, generation: int, step: int = 1, chunk_rows: int = 4) -> None:
    """What the controller does: begin, stage in chunks, publish."""
    sink.begin(generation, f"token-{generation}", step)
    items = list(contents.items())
    for k in range(0, len(items), chunk_rows):
        sink.stage(
            generation, k // chunk_rows, batch((Counter(dict(items[k : k + chunk_rows])), 1))
        )
    sink.publish(generation, marker(generation, step, contents.total()))


def test_readers_keep_the_old_rows_until_publish_and_then_have_the_new(target: Target) -> None:
    sink = target.sink()
    sink.validate()
    reset(sink, rows(1, 2, 3, 4, 5), 1)
    assert target.look() == rows(1, 2, 3, 4, 5)
    target.damage()
    damaged = target.look()
    new = rows(1, 2, v="b") + rows(3, 9)
    sink.begin(2, "token-2", 7)
    assert target.look() == damaged
    sink.stage(2, 0, batch((new, 1)))
    assert target.look() == damaged
    sink.publish(2, marker(2, 7, 4))

    assert target.look() == new
    assert sink.marker() == marker(2, 7, 4)
    sink.close()


def test_to_look_at_a_target_that_is_not_there_makes_nothing(
    target: Target, tmp_path: Path
) -> None:
    def files() -> list[Path]:
        return [p for p in tmp_path.rglob("*") if p.is_file()]

    before = files()  # DuckDB's reader has one in this process
    sink = target.sink()
    sink.validate()
    assert sink.marker() is None
    assert sink.privileges() is not None
    sink.close()

    assert files() == before
    assert target.look() is None


def test_an_empty_snapshot_leaves_an_empty_target(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    target.damage()
    reset(sink, Counter(), 2)

    assert target.look() == Counter()
    sink.close()


def test_deltas_move_the_target_on(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2, 3), 1)
    sink.apply(batch((rows(2), -1), (rows(2, v="b"), 1), (rows(3), -1), (rows(4), 1)),
               marker(1, 2, 3))  # fmt: skip
    assert target.look() == rows(1, 4) + rows(2, v="b")
    sink.apply(batch((rows(1), -1), (rows(1, v=None), 1)), marker(1, 3, 3))

    assert target.look() == rows(4) + rows(1, v=None) + rows(2, v="b")
    assert sink.marker() == marker(1, 3, 3)
    sink.close()


def test_follow_mode_begins_without_a_snapshot(target: Target) -> None:
    sink = target.sink()
    sink.validate()
    if sink.capabilities.starts_empty:
        reset(sink, Counter(), 1, step=0)
    sink.apply(batch((rows(1, 2), 1)), marker(1, 5, 2))

    assert target.look() == rows(1, 2)
    sink.close()


def test_what_was_done_is_not_done_again(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    sink.publish(1, marker(1, 1, 2))
    sink.apply(batch((rows(3), 1)), marker(1, 2, 3))
    for _ in range(2):
        sink.apply(batch((rows(3), 1)), marker(1, 2, 3))
    again = target.sink()
    again.apply(batch((rows(3), 1)), marker(1, 2, 3))
    again.publish(1, marker(1, 1, 2))

    assert target.look() == rows(1, 2, 3)
    sink.close()
    again.close()


def test_a_repeated_chunk_is_staged_once(target: Target) -> None:
    sink = target.sink()
    sink.begin(1, "token-1", 1)
    for chunk, ks in ((0, (1, 2)), (0, (1, 2)), (1, (3,)), (0, (1, 2))):
        sink.stage(1, chunk, batch((rows(*ks), 1)))
    sink.publish(1, marker(1, 1, 3))

    assert target.look() == rows(1, 2, 3)
    sink.close()


def test_a_writer_of_an_older_generation_cannot_write(target: Target) -> None:
    old = target.sink()
    reset(old, rows(1), 1)
    old.begin(2, "token-2", 2)
    old.stage(2, 0, batch((rows(8), 1)))
    new = target.sink()
    reset(new, rows(5), 3)

    with pytest.raises(SinkRejected, match="generation"):
        old.apply(batch((rows(9), 1)), marker(1, 9, 2))
    with pytest.raises((SinkRejected, StagingLost)):
        old.publish(2, marker(2, 9, 1))
    with pytest.raises(SinkRejected, match="token"):
        new.apply(batch((rows(9), 1)), marker(3, 9, 2, token="another"))
    assert target.look() == rows(5)
    assert new.marker() == marker(3, 1, 1)
    old.close()
    new.close()


def test_of_writers_at_the_same_time_the_newest_generation_remains(target: Target) -> None:
    """Each thread is a process of its own to the target: separate sinks, separate connections."""
    first = target.sink()
    reset(first, rows(0), 1)
    first.close()
    outcomes: dict[int, str] = {}

    def write(generation: int) -> None:
        sink = target.sink()
        try:
            reset(sink, rows(*range(generation)), generation)
            for step in range(2, 6):
                sink.apply(
                    batch((rows(100 * generation + step), 1)), marker(generation, step, generation)
                )
            outcomes[generation] = "wrote"
        except (SinkRejected, StagingLost) as e:
            outcomes[generation] = type(e).__name__
        finally:
            sink.close()

    threads = [threading.Thread(target=write, args=(g,)) for g in range(2, 7)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

    assert set(outcomes) == set(range(2, 7))
    assert outcomes[6] == "wrote"
    assert target.look() == rows(*range(6)) + rows(*(600 + step for step in range(2, 6)))


def test_a_snapshot_that_is_not_whole_is_not_published(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(2, 3), 1)))
    with pytest.raises(StagingLost):
        sink.publish(2, marker(2, 2, 3))
    with pytest.raises(StagingLost):
        sink.stage(2, 2, batch((rows(5), 1)))
    fresh = target.sink()
    with pytest.raises(StagingLost):
        fresh.stage(2, 1, batch((rows(4), 1)))
    with pytest.raises(StagingLost):
        fresh.publish(2, marker(2, 2, 2))

    assert target.look() == rows(1)
    reset(fresh, rows(6), 2)
    assert target.look() == rows(6)
    sink.close()
    fresh.close()


def test_a_target_that_is_anothers_is_refused_and_untouched(target: Target) -> None:
    owner = target.sink()
    reset(owner, rows(1, 2), 1)
    owner.begin(2, "token-2", 2)
    owner.stage(2, 0, batch((rows(3), 1)))
    thief = target.sink(connector="thief")
    with pytest.raises(SinkRejected, match="belongs to"):
        thief.validate()
    with pytest.raises(SinkRejected, match="belongs to"):
        thief.apply(batch((rows(7), 1)), marker(9, 9, 1, connector="thief"))
    with pytest.raises(SinkRejected, match="belongs to"):
        thief.begin(9, "token-9", 9)
    assert target.look() == rows(1, 2)
    assert owner.marker() == marker(1, 1, 2)
    owner.publish(2, marker(2, 2, 1))

    assert target.look() == rows(3)
    owner.close()
    thief.close()


def test_a_probe_does_not_disturb_a_snapshot_being_staged(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.begin(2, "token-2", 2)
    for chunk in range(3):
        sink.stage(2, chunk, batch((rows(chunk), 1)))
        probe = target.sink()
        probe.validate()
        assert probe.marker() == marker(1, 1, 1)
        probe.close()
    sink.publish(2, marker(2, 2, 3))

    assert target.look() == rows(0, 1, 2)
    sink.close()


def test_an_aborted_snapshot_leaves_everything_as_it_was(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(2), 1)))
    sink.abort(2)
    assert target.look() == rows(1)
    with pytest.raises(StagingLost):
        sink.publish(2, marker(2, 2, 1))
    sink.apply(batch((rows(3), 1)), marker(1, 2, 2))
    assert target.look() == rows(1, 3)
    reset(sink, rows(4), 3)

    assert target.look() == rows(4)
    sink.close()


def test_after_a_reset_that_was_called_off_the_old_generation_goes_on(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    sink.begin(2, "token-2", 3)
    sink.stage(2, 0, batch((rows(7, 8), 1)))
    sink.abort(2)
    sink.apply(batch((rows(3), 1), (rows(1), -1)), marker(1, 4, 2))
    assert target.look() == rows(2, 3) and sink.marker() == marker(1, 4, 2)
    reset(sink, rows(9), 3, step=5)

    assert target.look() == rows(9)
    sink.close()


def test_a_reset_makes_a_removed_target_anew(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    target.remove()
    sink.close()
    sink = target.sink()
    sink.validate()
    reset(sink, rows(1, 2, 3), 2)

    assert target.look() == rows(1, 2, 3)
    sink.close()


def test_a_delta_survives_damage_by_hand(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(*range(10)), 1)
    target.damage()
    sink.close()
    sink = target.sink()
    sink.validate()
    sink.apply(batch((rows(*range(9)), -1), (rows(20), 1)), marker(1, 2, 2))
    found = target.look()
    assert found is not None
    assert found[row(20)] == 1
    reset(sink, rows(9, 20), 2, step=3)

    assert target.look() == rows(9, 20)
    sink.close()


def test_equal_rows_are_counted(target: Target) -> None:
    if target.is_keyed:
        return  # with a key no two rows are equal
    sink = target.sink()
    three = Counter({row(1): 3, row(2): 2, row(3): 1})
    reset(sink, three, 1)
    assert target.look() == three
    change = batch((Counter({row(1): 2}), -1), (Counter({row(3): 2}), 1))
    sink.apply(change, marker(1, 2, 6))

    assert target.look() == Counter({row(1): 1, row(2): 2, row(3): 3})
    sink.close()


def test_a_key_that_is_not_unique_is_refused_and_the_contents_stay(target: Target) -> None:
    if not target.is_keyed:
        return  # without a key nothing has to be unique
    sink = target.sink()
    reset(sink, rows(1), 1)
    twice = rows(5) + rows(5, v="b")
    with pytest.raises(SinkRejected, match="not unique"):
        sink.apply(batch((twice, 1)), marker(1, 2, 3))
    sink.begin(2, "token-2", 2)
    with pytest.raises(SinkRejected, match="not unique"):
        sink.stage(2, 0, batch((twice, 1)))
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(5), 1)))
    with pytest.raises(SinkRejected, match="not unique"):
        # some see it when the second row comes, some when both meet the target
        sink.stage(2, 1, batch((rows(5, v="b"), 1)))
        sink.publish(2, marker(2, 2, 2))

    assert target.look() == rows(1)
    sink.close()


def test_whoever_polls_sees_only_whole_contents(target: Target) -> None:
    sink = target.sink()
    versions = [rows(*range(400), v="0")]
    reset(sink, versions[0], 1, chunk_rows=100)
    looks: list[Rows | None] = []
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            looks.append(target.look())

    reader = threading.Thread(target=poll)
    reader.start()
    for generation in count(2):
        version = rows(*range(generation, 400 + generation), v=str(generation))
        versions.append(version)
        reset(sink, version, generation, chunk_rows=100)
        if generation > 6 and len(looks) > 3:
            break
    stop.set()
    reader.join()
    sink.close()

    if sink.capabilities.guarantee == "per_key":
        _check_per_key(versions, looks)
        assert target.look() == versions[-1]
        return
    seen = [versions.index(x) for x in looks if x is not None]
    assert len(seen) == len(looks) > 3
    assert seen == sorted(seen)


def _check_per_key(versions: list[Rows], looks: list[Rows | None]) -> None:
    """Each key goes from one version's row to the next one's, and is missed or kept only where the
    two differ."""
    by_key = [{r[0]: r for r in version} for version in versions]
    newest: dict[int, int] = {}
    for look in looks:
        assert look is not None
        assert look.total() == len({r[0] for r in look})
        for r in look:
            version = versions.index(next(v for v in versions if r in v))
            assert version >= newest.get(r[0], 0)
            newest[r[0]] = version
        always = set.intersection(*(set(keys) for keys in by_key))
        assert always <= {r[0] for r in look}
    assert len(looks) > 3


def test_any_history_ends_in_the_view(target: Target) -> None:
    @settings(max_examples=target.histories, deadline=None)
    @given(seed=st.integers(0, 2**32))
    def check(seed: int) -> None:
        _check_history(target, seed)

    check()


def _check_history(target: Target, seed: int) -> None:
    """Random deltas, resets, damage, lost connections and repetitions against a Counter."""
    rng = random.Random(seed)
    sink = target.sink()
    stored = sink.marker()
    generation = 1 if stored is None else stored.generation + 1
    step = 1
    view: Rows = Counter()
    reset(sink, view, generation, step)
    is_damaged = False
    for _ in range(rng.randrange(1, 12)):
        step += 1
        action = rng.choice(["delta"] * 6 + ["reset", "damage", "reconnect", "abort"])
        if action == "delta":
            new = _changed(view, rng, target.is_keyed)
            delta = batch((view, -1), (new, 1))
            m = marker(generation, step, new.total())
            is_repeated = rng.random() < 0.3
            view = new
            try:
                sink.apply(delta, m)
                if is_repeated:
                    sink.apply(delta, m)
            except SinkUnavailable:
                assert is_damaged  # it has noticed
                sink.close()
                sink = target.sink()
        elif action == "reset":
            generation += 1
            reset(sink, view, generation, step, chunk_rows=rng.randrange(1, 5))
            is_damaged = False
        elif action == "damage":
            target.damage()
            is_damaged = True
        elif action == "abort":
            sink.begin(generation + 1, "x", step)
            sink.abort(generation + 1)
        else:
            sink.close()
            sink = target.sink()
            sink.validate()
        if not is_damaged:
            assert target.look() == view
    if is_damaged:
        reset(sink, view, generation + 1, step)
    sink.close()
    assert target.look() == view


def _changed(view: Rows, rng: random.Random, is_keyed: bool) -> Rows:
    new = Counter(view)
    for _ in range(rng.randrange(1, 6)):
        made = row(rng.randrange(6), rng.choice(["a", "b", 'it\'s, "so"\n', None]))
        if rng.random() < 0.4 and new:
            del new[rng.choice(sorted(new, key=repr))]
        elif is_keyed:
            new = Counter({r: 1 for r in new if r[0] != made[0]} | {made: 1})
        else:
            new[made] += rng.randrange(1, 3)
    return new


def words(sink: Sink, view: Rows) -> tuple[Rows, Rows]:
    """(what the target holds, what it should hold), in the target's words."""
    contents = sink.read()
    held: Rows = Counter()
    for piece in contents.rows:
        for words, weight in batch_to_rows(piece):
            held[words] += weight
    wanted: Rows = Counter()
    for words, weight in batch_to_rows(contents.spell(batch((view, 1)))):
        wanted[words] += weight
    return Counter({w: n for w, n in held.items() if n}), wanted


def can_read(sink: Sink) -> bool:
    """False if the sink says by name that it cannot read its target back."""
    try:
        for _ in sink.read().rows:
            pass
    except UserError as e:
        assert e.code == "NotSupported" and "'c'" in str(e)
        return False
    return True


def test_what_is_read_back_is_the_view_in_the_words_of_the_target(target: Target) -> None:
    sink = target.sink()
    if not can_read(sink):
        return
    # quotes, delimiters, line breaks, NULL against its name, fractions, the empty text
    odd = Counter(
        {
            (1, 'it\'s "odd", \n{"insert":1}\t\\', "-0.10", None, 1, 0.1): 1,
            (2, None, None, "0001-01-01", None, None): 1,
            (3, "NULL", "99999999.99", "9999-12-31", 0, 1e300): 1,
            (4, "", "1.00", "2024-02-29", 1, -0.5): 1,
            (5, "Zoë 🦉", "1.00", "2024-02-29", 1, float("inf")): 1,
        }
    )
    reset(sink, odd + rows(6, 7), 1)
    sink.apply(batch((rows(7), -1), (rows(7, v="b"), 1), (rows(8), 1)), marker(1, 2, 8))
    reader = target.sink()
    held, wanted = words(reader, odd + rows(6, 8) + rows(7, v="b"))

    assert held == wanted and held.total() == 8
    sink.apply(batch((rows(9), 1)), marker(1, 3, 9))
    reader.close()
    sink.close()


def test_reading_back_shows_what_was_done_by_hand_and_changes_nothing(target: Target) -> None:
    sink = target.sink()
    if not can_read(sink):
        return
    reset(sink, rows(*range(9)), 1)
    target.damage()
    seen, kept = target.look(), sink.marker()
    held, wanted = words(sink, rows(*range(9)))

    assert held != wanted
    assert target.look() == seen and sink.marker() == kept
    reset(sink, rows(*range(9)), 2)
    held, wanted = words(sink, rows(*range(9)))
    assert held == wanted
    sink.close()


def test_a_target_that_is_not_there_reads_as_empty(target: Target) -> None:
    sink = target.sink()
    if can_read(sink):
        assert words(sink, rows(1))[0] == Counter()
    assert target.look() is None
    sink.close()


def test_what_is_read_is_of_one_instant(target: Target) -> None:
    writer, reader = target.sink(), target.sink()
    reset(writer, rows(*range(50)), 1)
    if not can_read(reader):
        return
    contents = reader.read()
    if reader.capabilities.pins_reads:
        reset(writer, rows(*range(100, 105)), 2)
    pieces = [r for piece in contents.rows for r in batch_to_rows(piece)]

    assert sum(weight for _, weight in pieces) == 50
    writer.close()
    reader.close()


def test_a_reset_in_mode_diff_ends_in_the_same_state(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(*range(9)) + (Counter() if target.is_keyed else rows(3)), 1)
    target.damage()
    view = rows(*range(2, 12), v="new") if target.is_keyed else rows(*range(2, 12)) + rows(4)
    try:
        sink.begin_diff(2, "token-2", 2)
    except UserError as e:
        assert e.code == "NotSupported" and not sink.capabilities.can_diff
        sink.close()
        return
    assert sink.capabilities.can_diff
    sink.stage(2, 0, batch((view, 1)))
    sink.publish(2, marker(2, 2, view.total()))

    assert target.look() == view
    assert sink.marker() == marker(2, 2, view.total())
    sink.close()
