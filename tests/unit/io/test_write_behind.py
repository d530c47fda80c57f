"""Pieces of a snapshot are written in their order, and none behind one that failed."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from penstock.io.outputs.write_behind import WAITING, WriteBehind


def test_pieces_are_written_in_their_order_by_another_thread() -> None:
    written: list[tuple[int, str]] = []

    def write(piece: int) -> None:
        written.append((piece, threading.current_thread().name))

    behind = WriteBehind()
    for piece in range(20):
        behind.add(partial(write, piece))
    behind.finish()
    behind.finish()
    assert [piece for piece, _ in written] == list(range(20))
    assert {thread.startswith("write behind") for _, thread in written} == {True}


def test_no_more_pieces_wait_than_are_allowed() -> None:
    go, alive = threading.Event(), []
    behind = WriteBehind()
    for _ in range(WAITING + 1):
        behind.add(lambda: go.wait() and None)

    def add() -> None:
        behind.add(lambda: None)
        alive.append("added")

    adding = threading.Thread(target=add)
    adding.start()
    adding.join(0.05)
    assert not alive
    go.set()
    adding.join()
    behind.finish()
    assert alive == ["added"]


def test_who_adds_or_finishes_is_told_what_failed_and_nothing_is_written_behind_it() -> None:
    written: list[int] = []

    def write(piece: int) -> None:
        if piece == 1:
            raise OSError(28, "No space left on device")
        written.append(piece)

    behind = WriteBehind()
    with pytest.raises(OSError, match="No space left"):
        for piece in range(10):
            behind.add(partial(write, piece))
    assert written == [0]
    for call in (behind.finish, partial(behind.add, partial(write, 11)), behind.finish):
        with pytest.raises(OSError, match="No space left"):
            call()
    assert written == [0]


def test_dropping_waits_for_the_write_under_way_and_forgets_the_others() -> None:
    started, go, written = threading.Event(), threading.Event(), []

    def first() -> None:
        started.set()
        go.wait()
        written.append("first")

    behind = WriteBehind()
    behind.add(first)
    behind.add(lambda: written.append("second"))
    started.wait()
    threading.Timer(0.02, go.set).start()
    behind.drop()
    assert written == ["first"]
    behind.drop()
