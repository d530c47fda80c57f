"""A target in a random history: what its readers see, and whether that is allowed.

The timeline of the view's versions is known; a reader may see them in their order only, and no
other contents; where the guarantee is per_key, that holds of the row of each key. Once a target
was damaged by hand it may show anything until a reset that was asked for afterwards is complete.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import deltalake.exceptions
import psycopg

from tests.contract.target import Rows
from tests.histories.places import KINDS, Place


class Watched:
    """`at`: the version that was seen last; `damages`: how often it was damaged by hand."""

    def __init__(self, name: str, place: Place) -> None:
        self.name, self.place, self.target = name, place, place.target
        self.kind = KINDS[name]
        self._looks: list[Rows | None] = []
        self._lock = threading.Lock()
        self.at = 0
        #: the same of each key
        self._at_key: dict[Any, int] = {}
        self.damages = 0
        self.is_damaged = self.is_down = self.is_paused = False
        self.generation = 0

    @property
    def connector(self) -> str:
        return self.name.replace(" ", "_")

    @property
    def endpoint(self) -> str:
        return f"m.{self.connector}"

    def look(self) -> Rows | None:
        """What a reader sees now; noted."""
        with self._lock:
            try:
                found = self.target.look()
            except (ValueError, AssertionError):
                if not self.is_damaged:
                    raise
                found = None  # a spoiled file has lines that nobody can read
            if not self._looks or self._looks[-1] != found:
                self._looks.append(found)
            return found

    def damage(self, is_removed: bool) -> None:
        with self._lock:
            try:
                if self.target.look() is None:
                    return
            except (ValueError, AssertionError):
                if not self.is_damaged:
                    raise  # else: spoiled before, so that nobody can read it
            while True:
                try:
                    (self.target.remove if is_removed else self.target.damage)()
                    break
                except (deltalake.exceptions.CommitFailedError, psycopg.errors.DeadlockDetected):
                    continue  # the writer was quicker
                except deltalake.exceptions.DeltaError:
                    if not self.is_damaged:
                        raise
                    break  # removed while a commit came, so that nobody can read it
            self.damages += 1
            self.is_damaged = True

    def mended(self) -> None:
        """A reset that was asked for after the last damage is complete."""
        with self._lock:
            self._looks = []
            self.is_damaged = False

    def saw_generation(self, generation: int | None) -> None:
        """Of the target's marker: they only grow. None: it is gone, with what was there."""
        assert generation is None or generation >= self.generation, "an older generation came back"
        self.generation = generation or 0

    def judge(self, versions: Sequence[Rows]) -> None:
        """Raise AssertionError if a look since the last call was not allowed."""
        with self._lock:
            looks, self._looks = self._looks, self._looks[-1:]
        for seen in looks:
            if self.is_damaged:
                continue
            if self.kind.is_per_key:
                self._judge_keys(seen, versions)
                continue
            found = next((i for i in range(self.at, len(versions)) if versions[i] == seen), None)
            assert found is not None, f"{self.name}: {self._described(seen, versions)}"
            self.at = found

    def _judge_keys(self, seen: Rows | None, versions: Sequence[Rows]) -> None:
        assert seen is not None, f"{self.name}: the target was not there"
        rows = {r[0]: r for r in seen}
        assert len(rows) == seen.total(), f"{self.name}: a key is there twice: {seen}"
        timeline = [{r[0]: r for r in v} for v in versions]
        for k in sorted({*rows, *(k for v in timeline for k in v)}):
            at = self._at_key.get(k, 0)
            found = next(
                (i for i in range(at, len(timeline)) if timeline[i].get(k) == rows.get(k)), None
            )
            assert found is not None, (
                f"{self.name}: {rows.get(k)} was seen of key {k} after version {at} of "
                f"{len(versions)}, {timeline[at].get(k)}"
            )
            self._at_key[k] = found

    def _described(self, seen: Rows | None, versions: Sequence[Rows]) -> str:
        if seen is None:
            return "the target was not there"
        if seen in versions:
            return f"version {versions.index(seen)} was seen after {self.at}"
        away = [((seen - v).total() + (v - seen).total(), i) for i, v in enumerate(versions)]
        _, i = min(away)
        return (
            f"{seen.total()} rows of no version; seen last: {self.at}, nearest: {i} of "
            f"{len(versions)}, extra {seen - versions[i]}, missing {versions[i] - seen}"
        )
