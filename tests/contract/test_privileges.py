"""What a page asks for is enough, and without it nothing is touched: sinks whose target is a file.

The process takes the rights of a user who has just these for as long as it takes; a test that does
not run as root keeps its own, and its folders say what they allow. PostgreSQL, Kafka and Redis are
asked likewise in their own files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.io.contracts import SinkRejected, SinkUnavailable
from tests.contract.lake_targets import DeltaTarget, ParquetFolderTarget
from tests.contract.target import Target
from tests.contract.targets import JsonFileTarget, KeyedSqliteTarget
from tests.contract.test_sinks import batch, marker, reset, rows
from tests.servers import other_user
from tests.system.fault_targets import RealDuckDbTarget

KINDS = (
    JsonFileTarget,
    ParquetFolderTarget,
    KeyedSqliteTarget,
    DeltaTarget,
    pytest.param(RealDuckDbTarget, marks=pytest.mark.slow),
)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> type[Target]:
    """Used once, so that everything is imported that it needs."""
    found: type[Target] = request.param
    used(found(tmp_path_factory.mktemp("own")))
    return found


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that anybody may look into."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-privileges-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def somebody_else() -> Iterator[None]:
    user = other_user()
    if user is not None:
        # the way back is what is saved
        os.setresgid(user.pw_gid, user.pw_gid, 0)
        os.setresuid(user.pw_uid, user.pw_uid, 0)
    try:
        yield
    finally:
        if user is not None:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)


def used(target: Target) -> None:
    sink = target.sink()
    sink.validate()
    reset(sink, rows(1, 2, 3), 1)
    reset(sink, rows(2, 3, v="b"), 2, step=4)
    sink.apply(batch((rows(4), 1), (rows(2, v="b"), -1)), marker(2, 5, 2))
    assert target.look() == rows(3, v="b") + rows(4)
    sink.close()


def test_a_user_who_may_write_to_the_folder_needs_no_more(
    kind: type[Target], outside: Path
) -> None:
    own = outside / "own"
    own.mkdir()
    user = other_user()
    if user is not None:
        os.chown(own, user.pw_uid, user.pw_gid)
    own.chmod(0o700)
    with somebody_else():
        used(kind(own))


def test_a_user_who_may_not_is_told_so_and_nothing_is_touched(
    kind: type[Target], outside: Path
) -> None:
    others = outside / "others"
    others.mkdir()
    others.chmod(0o555)
    with somebody_else(), pytest.raises((SinkRejected, SinkUnavailable), match="others"):
        kind(others).sink().validate()
    assert list(others.iterdir()) == []
