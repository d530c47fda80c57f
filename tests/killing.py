"""A process that is killed at the n-th change that it makes to files, whoever makes it: our code,
SQLite's, DuckDB's, Arrow's threads; or in which that call fails.

    killed_at(work, folder, n) ─► fork ─► work() … │ n-th call that changes a file ─► SIGKILL
    failed_at(work, folder, n) ─► fork ─► work() … │ n-th call that changes or syncs one ─► -1

The child asks the kernel (seccomp, ptrace) to stop it before each system call that may change a
file. Between two of them what is on disk stays as it is, so the states that are tried are all that
a kill can leave, but for a single write torn in two. A sync changes nothing that survives a kill
of the process alone, and is not counted then. A call that fails does so with ENOSPC, or with EIO
where it takes no room, and is not made; those after it are.

To be used in a process of one thread, as every fork should be. Linux on x86-64 only.

Source: man 2 ptrace, seccomp.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

_TRACEME, _POKE, _CONT, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 6, 7, 0x4200, 0x420E
#: where the registers of a stopped process are: its answer, the number of its system call
_RAX, _ORIG_RAX = 80, 120
#: new threads and processes are traced too, the filter's stops are told, no tracee outlives us
_OPTIONS = 0x2 | 0x4 | 0x8 | 0x80 | 0x100000
_WALL, _EVENT_SECCOMP = 0x40000000, 7

#: numbers of system calls, and what of them counts
_WRITES = {1: "write", 18: "pwrite", 20: "writev", 296: "pwritev", 328: "pwritev2", 77: "ftruncate",
           285: "fallocate"}  # fmt: skip
_COPIES = {326: 2, 40: 0}  # copy_file_range, sendfile: which argument is written to
_OPENS = {2: 1, 257: 2}  # open, openat: which argument has the flags, behind the name
#: which argument is the name that comes or goes: creat, truncate, rename, renameat, renameat2,
#: link, linkat, symlink, symlinkat, unlink, unlinkat, mkdir, mkdirat, rmdir
_NAMES = {85: 0, 76: 0, 82: 1, 264: 3, 316: 3, 86: 1, 265: 3, 88: 1, 266: 2, 87: 0, 263: 1, 83: 0,
          258: 1, 84: 0}  # fmt: skip
#: the longest path that the kernel takes
_PATH_MAX = 4096
_SYNCS = {74: "fsync", 75: "fdatasync"}
#: those that take no room: unlink, unlinkat, rmdir, and a sync
_TAKES_NO_ROOM = {87, 263, 84, *_SYNCS}
_TRACED = (*_WRITES, *_COPIES, *_OPENS, *_NAMES)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8),
                ("k", ctypes.c_uint32)]  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("code", ctypes.POINTER(_Instruction))]


class _Call(ctypes.Structure):
    _fields_ = [("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32),
                ("ip", ctypes.c_uint64), ("sp", ctypes.c_uint64), ("number", ctypes.c_uint64),
                ("args", ctypes.c_uint64 * 6), ("data", ctypes.c_uint32)]  # fmt: skip


def is_possible() -> bool:
    """Whether this system lets a process trace its child."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        return killed_at(lambda: None, Path("/"), 1) == 0
    except OSError:
        return False


def killed_at(work: Callable[[], None], folder: Path, at: int) -> int:
    """Run `work` in a child that is killed before its change number `at` (from 1) to a file or a
    name in `folder`, or to a relative name; how many changes there were before it ended. At most
    `at`, and `at` only if it was killed. Raises AssertionError if it fails by itself."""
    return _disturbed_at(work, folder, at, _TRACED, is_killed=True)


def failed_at(work: Callable[[], None], folder: Path, at: int) -> int:
    """As `killed_at`, but that call, or sync, only fails; how many there were in all."""
    return _disturbed_at(work, folder, at, (*_TRACED, *_SYNCS), is_killed=False)


def _disturbed_at(
    work: Callable[[], None], folder: Path, at: int, traced: tuple[int, ...], *, is_killed: bool
) -> int:
    child = os.fork()
    if child == 0:
        _in_child(work, traced)
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        raise OSError("this system does not let a process be traced")
    _ptrace(_SETOPTIONS, child, _OPTIONS)
    _ptrace(_CONT, child, 0)
    count, known, is_dead = 0, {child}, False
    while True:
        pid, status = os.waitpid(-1, _WALL)
        if not os.WIFSTOPPED(status):
            if pid != child:
                continue
            assert is_dead or status == 0, f"the process ended with status {status}"
            return count
        sent = 0
        if status >> 16 == _EVENT_SECCOMP:
            if not is_dead and (number := _change(pid, folder)) is not None:
                count += 1
                if count == at and is_killed:
                    is_dead = True
                    os.kill(child, signal.SIGKILL)
                elif count == at:
                    answer = errno.EIO if number in _TAKES_NO_ROOM else errno.ENOSPC
                    _ptrace(_POKE, pid, -1, _ORIG_RAX)
                    _ptrace(_POKE, pid, -answer, _RAX)
        elif status >> 16 == 0 and pid in known:
            sent = os.WSTOPSIG(status)
        known.add(pid)
        try:
            _ptrace(_CONT, pid, sent)
        except ProcessLookupError:
            continue  # killed meanwhile


def in_child(work: Callable[[], None]) -> None:
    """Run `work` in a child that nobody disturbs; AssertionError if it fails."""
    child = os.fork()
    if child == 0:
        _run(work)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the process ended with status {status}"


def _in_child(work: Callable[[], None], traced: tuple[int, ...]) -> None:
    try:
        _ptrace(_TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        _stop_at(traced)
    except OSError:
        os._exit(1)
    _run(work)


def _run(work: Callable[[], None]) -> None:
    try:
        work()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _stop_at(numbers: tuple[int, ...]) -> None:
    """Have the tracer asked before each of these system calls, in this process for good."""
    code = [_Instruction(0x20, 0, 0, 0)]
    code += [_Instruction(0x15, len(numbers) - i, 0, n) for i, n in enumerate(numbers)]
    code += [_Instruction(0x06, 0, 0, 0x7FFF0000), _Instruction(0x06, 0, 0, 0x7FF00000)]
    program = _Program(len(code), (_Instruction * len(code))(*code))
    for call in ((38, 1, 0, 0, 0), (22, 2, ctypes.byref(program), 0, 0)):
        if _libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def _change(pid: int, folder: Path) -> int | None:
    """The number of the system call if it changes, or syncs, something in `folder`."""
    call = _Call()
    _ptrace(_GET_SYSCALL_INFO, pid, ctypes.addressof(call), ctypes.sizeof(call))
    return int(call.number) if _is_change(pid, call, folder) else None


def _is_change(pid: int, call: _Call, folder: Path) -> bool:
    number = call.number
    if number in _NAMES:
        return _is_in(pid, call.args[_NAMES[number]], folder)
    if number in _OPENS:
        flags = _OPENS[number]
        is_new = call.args[flags] & (os.O_CREAT | os.O_TRUNC)
        return bool(is_new) and _is_in(pid, call.args[flags - 1], folder)
    fd = call.args[_COPIES.get(number, 0)]
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}").startswith(str(folder))
    except OSError:
        return False


def _is_in(pid: int, address: int, folder: Path) -> bool:
    """Whether the name at this address of the process is one in `folder`, or a relative one."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        # may end at the end of what is mapped
        name = memory.read(_PATH_MAX).partition(b"\0")[0].decode(errors="replace")
    return not name.startswith("/") or Path(name).is_relative_to(folder)


def _ptrace(request: int, pid: int, data: int, size: int = 0) -> None:
    if _libc.ptrace(request, pid, size, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
