"""How a worker's C library hands out memory: from one heap, in large pages, which it keeps.

    numpy, kernels, Python ──malloc──► one heap, pages of 2 MB   (glibc as it comes: a heap for each
                                                                  thread, pages of 4 KB, arrays of
                                                                  32 MB and more outside of it)

State is read at random places. Where a page has 4 KB each of those is two waits for memory, one for
where the page is; and what threads that merge let go of stays with the heap of each, for no other
to use. What runs leave that are gone is for those that come: the system clears a page before it
hands it out, which takes 0.4 ms, and 2 where a virtual machine's host has to find it first. It gets
back what is free when the pipeline rests, and at once where there is a limit
(`penstock.state.freed`). Told by the environment, because glibc asks once, before the first line of
Python.

Source: glibc's manual, "Memory Allocation Tunables". Other C libraries do not look at it; where a
system has no large pages the option does nothing.

Not here: the arrays that have large pages of their own (`penstock.state.backing`).
"""

from __future__ import annotations

from collections.abc import Mapping

_VARIABLE = "GLIBC_TUNABLES"
_TUNABLES = {
    "glibc.malloc.hugetlb": "1",
    "glibc.malloc.arena_max": "1",
    # nothing outside of the heap, and of it nothing is given back by itself
    "glibc.malloc.mmap_max": "0",
    "glibc.malloc.trim_threshold": str(1 << 40),
    # how much longer than needed it becomes each time; what is not touched takes no memory
    "glibc.malloc.top_pad": str(1 << 26),
}


def with_large_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` and what a process needs in it; what it says already is left as it is."""
    said = [t for t in environment.get(_VARIABLE, "").split(":") if t]
    names = {t.partition("=")[0] for t in said}
    more = [f"{name}={value}" for name, value in _TUNABLES.items() if name not in names]
    return {**environment, _VARIABLE: ":".join(said + more)}
