"""Compiled kernels are found again: by a second start, from a read-only install, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import penstock
from penstock.data.warm import ROOMS

#: two kernels are enough to tell, and quick to compile; `hits` counts those that were loaded
PROGRAM = """
from penstock.data.hash import _mix
from penstock.data.views import _prefix
from penstock.data.build import column_from_python
from penstock.data.hash import hash_columns
from penstock.data.types import BIGINT
assert len(set(hash_columns([column_from_python(BIGINT, [1, 2, 2])]).tolist())) == 2
hits = [sum(k.compile()._cache_hits.values()) for k in (_mix, _prefix)]
print("hits", sum(hits))
"""

#: what a server's first process does, with two kernels: one that all pipelines call, one that
#: hardly any does
LOADING = """
import logging, sys, time
from penstock.data import cell_values, hash, warm
from penstock.data.kernel import REGISTERED
always, seldom = hash._mix, cell_values._uuids
assert always.name in warm.ALWAYS and seldom.name not in warm.ALWAYS | warm.OFTEN
def import_two():
    for name in set(REGISTERED) - {always.name, seldom.name}:
        del REGISTERED[name]
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
warm.import_kernels, warm.ROOMS = import_two, ("data",)
loading = warm.load_kernels()
assert always.load()
while not loading.more():
    time.sleep(0.05)
assert seldom.load()
"""
#: the modules of all kernels
DECLARING = """
from penstock.data.kernel import REGISTERED
from penstock.data.warm import import_kernels
import_kernels()
print(*sorted({k.function.__module__ for k in REGISTERED.values()}))
"""


pytestmark = pytest.mark.skipif(
    os.name != "posix" or (os.getuid() == 0 and shutil.which("setpriv") is None),
    reason="root needs setpriv to run something that obeys file modes",
)


@pytest.fixture
def install(tmp_path: Path) -> Path:
    """A copy of the package's bottom rooms, without any compiled code."""
    source = Path(penstock.__file__).parent
    target = tmp_path / "site" / "penstock"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / "data", target / "data", ignore=ignore)
    for name in ("__init__.py", "errors.py"):
        shutil.copy(source / name, target / name)
    return target.parent


def start(install: Path, program: str = PROGRAM) -> tuple[str, str]:
    """stdout and stderr of a process without a home that uses two kernels. It obeys file modes
    even if we are root."""
    env = {"PYTHONPATH": str(install), "HOME": str(install / "no home"), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", program]
    if os.getuid() == 0:
        command = ["setpriv", "--bounding-set", "-all", *command]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@contextmanager
def read_only(install: Path) -> Iterator[None]:
    paths = [install, *install.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_second_start_compiles_nothing_even_from_a_read_only_install(install: Path) -> None:
    assert start(install) == ("hits 0", "")
    assert start(install) == ("hits 2", "")
    with read_only(install):
        assert start(install) == ("hits 2", "")


def test_without_any_cache_kernels_still_work_and_one_line_says_why(install: Path) -> None:
    with read_only(install):
        out, err = start(install)
        said, _ = start(install, LOADING)
    assert out == "hits 0"
    assert "compiling_kernels: 2 of 2, at this start and at each other" in said
    assert err.count("kernel_cache_unavailable") == 1 and "NUMBA_CACHE_DIR" in err


def test_the_kernels_of_every_room_are_declared_where_nothing_can_be_written(
    tmp_path: Path,
) -> None:
    source, target = Path(penstock.__file__).parent, tmp_path / "site" / "penstock"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    with read_only(target.parent):
        said, _ = start(target.parent, DECLARING)
    rooms = {name.split(".")[1] for name in said.split()}
    assert rooms == set(ROOMS)


def test_the_first_server_of_an_installation_says_that_it_compiles_and_the_second_has_not_to(
    install: Path,
) -> None:
    said, _ = start(install, LOADING)
    begins, *ready = said.splitlines()
    assert begins.startswith("compiling_kernels: 2 of 2, once for this installation")
    assert [line[:20] for line in ready] == ["kernels_ready: those", "kernels_ready: all, "] or [
        line[:20] for line in ready
    ] == ["kernels_ready: all, ", "kernels_ready: those"]
    assert start(install, LOADING) == ("", "")
