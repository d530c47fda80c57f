"""What a worker is told about memory, and that it heeds it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.manager.allocation import with_large_pages

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
#: how many kB of its heap may have large pages once a thread has put 32 MB on it
HAS = """
import re, threading
kept = []
thread = threading.Thread(target=lambda: kept.extend(bytes(64_000) for _ in range(500)))
thread.start()
thread.join()
areas = open("/proc/self/smaps").read().split("[heap]")[1:]
of_advised = [a for a in areas if " hg" in re.search("VmFlags:(.*)", a)[1]]
print(sum(int(re.search("Size: *([0-9]+)", a)[1]) for a in of_advised))
"""


def test_what_the_environment_says_already_is_left_as_it_is() -> None:
    said = {"A": "b", "GLIBC_TUNABLES": "glibc.malloc.arena_max=3:glibc.malloc.check=1"}
    kept = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776"
    kept += ":glibc.malloc.top_pad=67108864"
    assert with_large_pages(said) == {
        "A": "b",
        "GLIBC_TUNABLES": "glibc.malloc.arena_max=3:glibc.malloc.check=1:glibc.malloc.hugetlb=1:"
        + kept,
    }
    assert with_large_pages({})["GLIBC_TUNABLES"] == (
        "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:" + kept
    )
    assert with_large_pages(with_large_pages(said)) == with_large_pages(said)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not SWITCH.exists() or "[never]" in SWITCH.read_text(),
    reason="the system has no large pages, or another C library",
)
def test_a_process_has_its_memory_in_large_pages_whichever_thread_asks() -> None:
    def kilobytes(environment: dict[str, str]) -> int:
        command = [sys.executable, "-c", HAS]
        return int(subprocess.run(command, env=environment, stdout=-1, check=True).stdout)

    plain = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    assert kilobytes(plain) == 0
    assert kilobytes(with_large_pages(plain)) > 30_000


#: how many page faults there are when arrays of 64 MB come and go again and again
FAULTS = """
import resource, numpy
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    first = [numpy.ones(64 << 20, numpy.uint8) for _ in range(3)]
    del first
begun = faults()
for _ in range(5):
    again = [numpy.ones(64 << 20, numpy.uint8) for _ in range(3)]
    del again
print(faults() - begun)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_one_array_leaves_another_has_without_the_system() -> None:
    def faults(environment: dict[str, str]) -> int:
        command = [sys.executable, "-c", FAULTS]
        return int(subprocess.run(command, env=environment, stdout=-1, check=True).stdout)

    plain = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    assert faults(with_large_pages(plain)) < 100
    assert faults(plain) > 400
