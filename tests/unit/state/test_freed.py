"""Memory that was let go of is the system's again where there is a limit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from penstock.manager.allocation import with_large_pages

#: MB that are held of 128 MB in arrays of `size` bytes that went, but for a few bytes behind each
#: that stay, in two threads
HELD = """
import sys, threading
import numpy as np
from penstock.state import freed

def held():
    (line,) = [x for x in open("/proc/self/status") if x.startswith("RssAnon")]
    return int(line.split()[1]) / 1024

size, limited, gives = map(int, sys.argv[1:])
stay, begun = [], held()
if limited:
    freed.limit_what_is_kept()

def use():
    for _ in range(3):
        arrays = []
        for _ in range((64 << 20) // size):
            arrays.append(np.ones(size, np.uint8))
            stay.append(np.ones(2000, np.uint8))

threads = [threading.Thread(target=use) for _ in range(2)]
for t in threads: t.start()
for t in threads: t.join()
if gives:
    freed.give_back()
print(held() - begun)
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc",
    reason="asks Linux what glibc holds",
)


@pytest.mark.parametrize("of_a_worker", (False, True))
def test_large_arrays_are_given_back_at_once_and_small_ones_when_it_is_time(
    of_a_worker: bool,
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    if of_a_worker:
        environment = with_large_pages(environment)

    def held(size: int, limited: bool, gives: bool) -> float:
        arguments = [str(int(x)) for x in (size, limited, gives)]
        command = [sys.executable, "-c", HELD, *arguments]
        return float(subprocess.run(command, env=environment, stdout=-1, check=True).stdout)

    large, small = 3 << 20, 200_000
    assert held(large, True, False) < 10
    assert held(small, True, True) < 10
    # it would be kept anyway
    assert held(large, False, False) > 40
    assert held(small, False, False) > 40


#: MB that are held before and after it is given back, of 300 MB that went, beside so many that stay
MUCH = """
import sys
import numpy as np
from penstock.state import freed

def held():
    (line,) = [x for x in open("/proc/self/status") if x.startswith("RssAnon")]
    return int(line.split()[1]) / 1024

used = np.ones(int(sys.argv[1]) << 20, np.uint8)
gone = [np.ones(1 << 20, np.uint8) for _ in range(300)]
stays = np.ones(1000, np.uint8)
del gone
before = held()
freed.give_back_much()
print(before - held())
"""


def test_who_rests_gives_back_what_is_much_beside_what_is_used() -> None:
    environment = with_large_pages({**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})

    def given_back(used: int) -> float:
        command = [sys.executable, "-c", MUCH, str(used)]
        return float(subprocess.run(command, env=environment, stdout=-1, check=True).stdout)

    assert given_back(50) > 250
    assert given_back(700) < 10
